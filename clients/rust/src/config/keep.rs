//! Which of several sources a bound config is taken from, and what is made of it.

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    Value,
    bind::{Decode, age},
    failover::Failover,
    origin::{Current, Origin, Problem},
    snapshot::{Saved, Snapshot},
};
use crate::proto::Config;

/// The sources of one config.
pub(super) struct Keeper<T> {
    pub(super) failover: Option<Failover>,
    pub(super) snapshot: Option<Snapshot>,
    pub(super) snapshot_max_age: Option<Duration>,
    pub(super) value: Value,
    pub(super) decode: Decode<T>,
    /// What was last made something of.
    pub(super) offered: Option<Offer>,
    /// The last version of the service that decoded.
    pub(super) saved: Option<Arc<Config>>,
}

/// What a source says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Offer {
    /// It knows nothing, and another one may.
    Nothing,
    /// There is no config.
    Deleted,
    /// A file that cannot be used.
    Unreadable(String),
    Config(Origin, Arc<Config>),
}

// === impl Keeper ===

impl<T: Send + Sync + 'static> Keeper<T> {
    /// What the failover file says.
    pub(super) async fn failover(&self) -> Offer {
        let Some(failover) = self.failover.clone() else {
            return Offer::Nothing;
        };
        let known = self.saved.as_ref().map(|config| config.content_type());
        match file(move || failover.read(known)).await {
            Ok(Some(config)) => Offer::Config(Origin::Failover, config.into()),
            Ok(None) => Offer::Nothing,
            Err(error) => Offer::Unreadable(error.to_string()),
        }
    }

    /// What the service says.
    pub(super) fn service(&self) -> Offer {
        match self.value.get() {
            Some(config) => Offer::Config(Origin::Service, config),
            None if self.value.is_known() => Offer::Deleted,
            None => Offer::Nothing,
        }
    }

    /// What the snapshot says.
    pub(super) async fn snapshot(&self) -> Offer {
        let Some(snapshot) = self.snapshot.clone() else {
            return Offer::Nothing;
        };
        let too_old = |confirmed| {
            self.snapshot_max_age
                .is_some_and(|most| age(confirmed) > most)
        };
        match file(move || snapshot.read()).await {
            Ok(Some(saved)) if too_old(saved.confirmed) => {
                Offer::Unreadable("the snapshot is too old".into())
            }
            Ok(Some(Saved { config, confirmed })) => {
                Offer::Config(Origin::Snapshot { confirmed }, config.into())
            }
            Ok(None) => Offer::Nothing,
            Err(error) => Offer::Unreadable(error.to_string()),
        }
    }

    /// Begins with an offer, if it can be used. `problem` is what is wrong with an earlier one.
    pub(super) fn first(
        &mut self,
        offer: Offer,
        problem: &mut Option<Problem>,
    ) -> Option<Current<T>> {
        match self.taken(&offer)? {
            Ok(current) => {
                self.offered = Some(offer);
                Some(Current {
                    problem: problem.take(),
                    ..current
                })
            }
            Err(found) => {
                tracing::warn!(
                    key = self.value.key,
                    "a config cannot be used: another source is asked"
                );
                problem.get_or_insert(found);
                None
            }
        }
    }

    /// Looks at the sources; what is to be shown now, if that is something else.
    pub(super) async fn next(&mut self, shown: &Current<T>) -> Option<Current<T>> {
        let mut offer = self.failover().await;
        if offer == Offer::Nothing {
            offer = self.service();
        }
        // No server has answered yet; a failover file may have been taken away.
        if offer == Offer::Nothing {
            offer = self.snapshot().await;
        }
        if self.offered.as_ref() == Some(&offer) {
            return None;
        }
        let taken = self.taken(&offer)?;
        let of_service = matches!(offer, Offer::Config(Origin::Service, _));
        self.offered = Some(offer);
        match taken {
            Ok(current) => {
                if of_service {
                    self.save().await;
                }
                Some(current)
            }
            Err(problem) => {
                // The text may quote a secret, so it goes to the program alone.
                tracing::warn!(
                    key = self.value.key,
                    "a config cannot be used: the last good one stays"
                );
                Some(Current {
                    problem: Some(problem),
                    ..shown.clone()
                })
            }
        }
    }

    /// Writes the snapshot, if the service's last version decoded and was heard of lately.
    pub(super) async fn save(&mut self) {
        let (Some(snapshot), Some(config)) = (self.snapshot.clone(), self.saved.clone()) else {
            return;
        };
        let current = self.value.get();
        let age = self
            .value
            .age()
            .filter(|_| current.as_ref() == Some(&config));
        let Some(confirmed) = age.and_then(|age| SystemTime::now().checked_sub(age)) else {
            return;
        };
        let config = Config::clone(&config);
        let saved = Saved { config, confirmed };
        if let Err(error) = file(move || snapshot.write(&saved)).await {
            tracing::warn!(%error, key = self.value.key, "the snapshot of a config was not written");
        }
    }

    /// What is made of an offer; nothing of one that says nothing.
    fn taken(&mut self, offer: &Offer) -> Option<Result<Current<T>, Problem>> {
        let (origin, config) = match offer {
            Offer::Nothing => return None,
            Offer::Deleted => return Some(Err(Problem::Deleted)),
            Offer::Unreadable(error) => {
                let error = error.clone();
                return Some(Err(Problem::Unreadable { error }));
            }
            Offer::Config(origin, config) => (*origin, config),
        };
        Some(match (self.decode)(config) {
            Ok(value) => {
                if origin != Origin::Failover {
                    self.saved = Some(config.clone());
                }
                Ok(Current {
                    value: value.into(),
                    origin,
                    version: config.version,
                    problem: None,
                })
            }
            Err(error) => Err(Problem::Undecodable {
                origin,
                version: config.version,
                error: error.to_string(),
            }),
        })
    }
}

/// Does what a disk may take its time for.
async fn file<R: Send + 'static>(
    work: impl FnOnce() -> io::Result<R> + Send + 'static,
) -> io::Result<R> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}
