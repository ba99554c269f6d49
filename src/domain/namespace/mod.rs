//! Namespaces: what was set for one, and how much is in it. A namespace exists without either.

mod put;
mod quota;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
    time::SystemTime,
};

use bytes::Bytes;

use crate::{cache::Freshness, store::Revision};

use super::{
    Core,
    error::{Error, Resource},
    names::{Label, Namespace},
    state::{State, Usage, View},
};

pub use self::quota::Quota;
pub(super) use self::quota::{Newcomer, Room};

/// What was set for a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceSettings {
    /// Which one.
    pub namespace: Namespace,
    /// What it is for.
    pub description: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// How much may be in it.
    pub quotas: Quotas,
    /// Who wrote the settings, unverified.
    pub author: Label,
    /// When.
    pub update_time: SystemTime,
    /// The request that wrote them.
    pub request_id: String,
    /// The format they were written in.
    pub format: u32,
    /// The revision that created the record.
    pub create_revision: Revision,
    /// The revision that last wrote it.
    pub mod_revision: Revision,
}

/// How much may be in a namespace; `None`: any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quotas {
    /// Instances.
    pub instances: Option<u32>,
    /// Services.
    pub services: Option<u32>,
    /// Sessions that have something in it.
    pub sessions: Option<u32>,
}

/// A namespace as it is seen.
#[derive(Debug, Clone)]
pub struct NamespaceInfo {
    /// Which one.
    pub namespace: Namespace,
    /// What was set for it, if anything.
    pub settings: Option<Arc<NamespaceSettings>>,
    /// What is in it.
    pub usage: Usage,
}

/// The namespaces.
#[derive(Clone)]
pub struct Namespaces {
    core: Arc<Core>,
}

// === impl Namespaces ===

impl Namespaces {
    /// The namespaces in the store that `core` is about.
    pub fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// Reads one.
    ///
    /// Errors: [`Error::NotFound`] if nothing was set for it and nothing is in it.
    pub async fn get(
        &self,
        namespace: &Namespace,
        freshness: Freshness,
    ) -> Result<(NamespaceInfo, View), Error> {
        let view = self.core.cache.read(freshness).await?;
        match NamespaceInfo::of(&view.state, namespace) {
            Some(info) => Ok((info, view)),
            None => Err(Error::NotFound {
                resource: Resource::Namespace,
                name: namespace.to_string(),
            }),
        }
    }

    /// The first `size` of those for which something was set or that have something in them, in
    /// order of their names, after the name `after`. Says whether more follow.
    pub async fn list(
        &self,
        after: Option<Namespace>,
        size: usize,
        freshness: Freshness,
    ) -> Result<(Vec<NamespaceInfo>, bool, View), Error> {
        let view = self.core.cache.read(freshness).await?;
        let names = names(&view.state, after, size + 1);
        let more = names.len() > size;
        let infos = names.iter().take(size);
        let infos = infos.filter_map(|name| NamespaceInfo::of(&view.state, name));
        Ok((infos.collect(), more, view))
    }
}

/// At least `size` names, if there are so many.
fn names(state: &State, after: Option<Namespace>, size: usize) -> BTreeSet<Namespace> {
    let bytes = |after: &Namespace| Bytes::from(after.as_str().to_owned());
    let bytes = after.as_ref().map(bytes);
    let set = state.namespaces.range((from(after), Bound::Unbounded));
    let used = state.usage.range((from(bytes), Bound::Unbounded));
    let used = used.filter_map(|(name, _)| {
        // Whatever has a path has a name.
        Namespace::parse(std::str::from_utf8(name).ok()?).ok()
    });
    let set = set.map(|(name, _)| name.clone());
    set.take(size).chain(used.take(size)).collect()
}

fn from<T>(after: Option<T>) -> Bound<T> {
    after.map_or(Bound::Unbounded, Bound::Excluded)
}

// === impl NamespaceSettings ===

impl NamespaceSettings {
    /// What is so if nothing was set.
    pub fn unset(namespace: Namespace) -> Self {
        Self {
            namespace,
            description: String::new(),
            labels: BTreeMap::new(),
            quotas: Quotas::default(),
            author: Label::default(),
            update_time: SystemTime::UNIX_EPOCH,
            request_id: String::new(),
            format: 0,
            create_revision: 0,
            mod_revision: 0,
        }
    }
}

// === impl NamespaceInfo ===

impl NamespaceInfo {
    fn of(state: &State, namespace: &Namespace) -> Option<Self> {
        let settings = state.namespaces.get(namespace).cloned();
        let usage = state.usage_of(namespace);
        if settings.is_none() && usage.is_none() {
            return None;
        }
        Some(Self {
            namespace: namespace.clone(),
            settings,
            usage: usage.cloned().unwrap_or_default(),
        })
    }
}
