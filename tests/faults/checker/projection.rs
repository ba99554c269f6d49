//! What a selection shows of stored records. Shares nothing with the server's own derivation: what
//! it gets wrong is not got wrong here in the same way.

mod configs;
mod locks;
mod registry;
mod roster;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use stanchion_client::proto::DeleteCause;

use self::{
    configs::Configs,
    locks::Claims,
    registry::{Instances, Services},
};
use crate::{
    view::{Look, View},
    witness::{Change, Put},
};

/// What one revision changed of what is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub path: String,
    pub before: Option<Look>,
    pub after: Option<Look>,
    /// What a deletion may name as its cause.
    pub causes: Vec<DeleteCause>,
}

/// What a selection shows, as records change.
pub struct Projection {
    /// What is shown now.
    pub shown: BTreeMap<String, Look>,
    records: Box<dyn Records>,
}

/// The records that decide what a selection shows.
trait Records {
    /// Takes all changes of one revision, keys without their common prefix. Says whether one of
    /// them may change what is shown.
    fn take(&mut self, changes: &[(&str, &Change)]) -> Result<bool, String>;

    /// What is shown now.
    fn shown(&self) -> BTreeMap<String, Look>;

    /// What may be named as the cause when what was shown is not shown any more since the last
    /// revision.
    fn causes(&self, path: &str) -> Vec<DeleteCause>;
}

// === impl Projection ===

impl Projection {
    pub fn new(view: &View) -> Self {
        let prefix = view.prefix();
        let records: Box<dyn Records> = match view {
            View::Configs { .. } => Box::new(Configs::new(prefix)),
            View::Instances { serving, .. } => Box::new(Instances::new(prefix, *serving)),
            View::Services { .. } => Box::new(Services::new(prefix)),
            View::Lock { .. } => Box::new(Claims::new(prefix)),
        };
        Self {
            shown: BTreeMap::new(),
            records,
        }
    }

    /// Takes all changes of one revision, keys without their common prefix. Says what they change.
    pub fn apply(&mut self, changes: &[(&str, &Change)]) -> Result<Vec<Step>, String> {
        if !self.records.take(changes)? {
            return Ok(Vec::new());
        }
        let before = std::mem::replace(&mut self.shown, self.records.shown());
        let paths: BTreeSet<&String> = before.keys().chain(self.shown.keys()).collect();
        let steps = paths.into_iter().filter_map(|path| {
            let (before, after) = (before.get(path), self.shown.get(path));
            (before != after).then(|| Step {
                path: path.clone(),
                before: before.cloned(),
                after: after.cloned(),
                causes: self.records.causes(path),
            })
        });
        Ok(steps.collect())
    }
}

fn decoded<R: prost::Message + Default>(key: &str, put: &Put) -> Result<R, String> {
    R::decode(put.value.as_ref()).map_err(|error| format!("the record at {key}: {error}"))
}
