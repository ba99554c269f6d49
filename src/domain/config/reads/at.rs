//! What an item said at a moment.

use std::time::SystemTime;

use crate::{
    cache::Freshness,
    domain::{Error, error::Resource, keyspace::ConfigPath},
    store::{RangeRequest, Revision},
};

use super::{ConfigVersion, Configs, history};

/// When something was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// By the clocks of those who made versions.
    Time(SystemTime),
    /// In the history of the store.
    Revision(Revision),
}

// === impl Configs ===

impl Configs {
    /// Reads the version that was current then, be it a deletion, whether it is pinned, and the
    /// revision at which it was there. Versions are bisected: of n kept ones it reads about log₂ n.
    ///
    /// Errors: [`Error::NotFound`], for an item before its first version and for one whose history
    /// does not reach back so far; [`Error::Behind`] for a revision that did not come in time.
    pub async fn version_at(
        &self,
        path: &ConfigPath,
        moment: Moment,
        freshness: Freshness,
    ) -> Result<(ConfigVersion, bool, Revision), Error> {
        let mut view = self.core.cache.read(moment.included(freshness)).await?;
        if let Moment::Revision(wanted) = moment
            && wanted > view.revision
        {
            // The store has not come so far yet.
            view = self.core.cache.read(Freshness::AtLeast(wanted)).await?;
        }
        let head = view.state.configs.get(path.path().as_bytes());
        let Some(current) = head.map(|head| head.current.clone()) else {
            return Err(then(Resource::Config, path, moment));
        };
        if moment.shows(&current) {
            let pinned = self.is_pinned(path, current.version, view.revision).await?;
            return Ok((current, pinned, view.revision));
        }
        let at_least = Some(view.revision);
        // The newest version that is known to have been there, and the oldest that was made later.
        let (mut low, mut high) = (0, current.version);
        let (mut earlier, mut later) = (None, current);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let keys = self.core.keys.config_versions(path, middle, high - 1);
            let found = self
                .look_up(RangeRequest::new(keys).limit(1), at_least)
                .await?;
            // Numbers may have gaps where history was pruned: the next one that is kept.
            match found.kvs.first().map(history::outline).transpose()? {
                Some(version) if moment.shows(&version) => {
                    (low, earlier) = (version.version, Some(version));
                }
                Some(version) => (high, later) = (middle, version),
                None => high = middle,
            }
        }
        let is_certain = later.prev_version == low || earlier.is_some_and(|v| moment.made(&v));
        if !is_certain {
            // There was another one in between, which is not kept any more.
            return Err(then(Resource::ConfigHistory, path, moment));
        }
        if low == 0 {
            return Err(then(Resource::Config, path, moment));
        }
        let freshness = Freshness::AtLeast(view.revision);
        let found = self.version(path, low, freshness).await;
        found.map_err(|error| match error {
            // It was forgotten meanwhile.
            Error::NotFound { .. } => then(Resource::ConfigHistory, path, moment),
            error => error,
        })
    }
}

// === impl Moment ===

impl Moment {
    /// Whether a version was there then.
    fn shows(&self, version: &ConfigVersion) -> bool {
        match self {
            Self::Time(time) => version.create_time <= *time,
            Self::Revision(revision) => version.revision <= *revision,
        }
    }

    /// Whether a version was made then.
    fn made(&self, version: &ConfigVersion) -> bool {
        match self {
            Self::Time(time) => version.create_time == *time,
            Self::Revision(revision) => version.revision == *revision,
        }
    }

    /// How fresh a state has to be that shows the moment.
    fn included(&self, freshness: Freshness) -> Freshness {
        match (self, freshness) {
            (Self::Revision(wanted), Freshness::Cached) => Freshness::AtLeast(*wanted),
            (Self::Revision(wanted), Freshness::AtLeast(least)) => {
                Freshness::AtLeast(least.max(*wanted))
            }
            _ => freshness,
        }
    }
}

fn then(resource: Resource, path: &ConfigPath, moment: Moment) -> Error {
    let path = path.path();
    Error::NotFound {
        resource,
        name: match moment {
            Moment::Time(_) => format!("{path} at that time"),
            Moment::Revision(revision) => format!("{path} at revision {revision}"),
        },
    }
}
