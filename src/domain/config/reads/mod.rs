//! Reads that say more than a list: one item or several, an item once it has changed, as it was, and
//! what made it so.

mod aside;
mod at;
mod blame;
mod diff;
mod lines;
mod patch;
mod wait;

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    cache::Freshness,
    domain::{
        Error,
        error::Resource,
        keyspace::ConfigPath,
        names::{ConfigKey, Namespace},
        state::View,
    },
};

use super::{
    Body, ConfigHead, ConfigSelection, ConfigVersion, Configs, ContentType, content::Content,
    history,
};

pub(super) use self::aside::Aside;
pub use self::{
    at::Moment,
    blame::Blame,
    diff::{Comparison, ContentDiff, Diff, Side},
    wait::Wait,
};

// === impl Configs ===

impl Configs {
    /// Reads an item. Errors: [`Error::NotFound`], for one that is deleted too.
    pub async fn get(
        &self,
        path: &ConfigPath,
        freshness: Freshness,
    ) -> Result<(Arc<ConfigHead>, View), Error> {
        found(path, self.core.cache.read(freshness).await?)
    }

    /// Reads items of a namespace as they are together, and says which of them are not there.
    pub async fn get_several<'a>(
        &self,
        namespace: &Namespace,
        keys: &'a BTreeSet<ConfigKey>,
        freshness: Freshness,
    ) -> Result<(Vec<Arc<ConfigHead>>, Vec<&'a ConfigKey>, View), Error> {
        let view = self.core.cache.read(freshness).await?;
        let (mut heads, mut missing) = (Vec::new(), Vec::new());
        for key in keys {
            let path = format!("{namespace}/{key}");
            match view.state.configs.get(path.as_bytes()) {
                Some(head) if !head.current.deleted => heads.push(head.clone()),
                _ => missing.push(key),
            }
        }
        Ok((heads, missing, view))
    }
}

fn found(path: &ConfigPath, view: View) -> Result<(Arc<ConfigHead>, View), Error> {
    let head = view.state.configs.get(path.path().as_bytes());
    match head.filter(|head| !head.current.deleted).cloned() {
        Some(head) => Ok((head, view)),
        None => Err(absent(path)),
    }
}

fn absent(path: &ConfigPath) -> Error {
    Error::NotFound {
        resource: Resource::Config,
        name: path.path(),
    }
}
