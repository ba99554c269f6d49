//! Configs: each is what its head says, unless that is a tombstone.

use std::collections::BTreeMap;

use stanchion_client::proto::DeleteCause;

use super::{Records, decoded};
use crate::{
    view::{Look, config_stored},
    witness::Change,
};

/// The configs whose paths begin with a prefix.
pub(super) struct Configs {
    prefix: String,
    shown: BTreeMap<String, Look>,
}

// === impl Configs ===

impl Configs {
    pub(super) fn new(prefix: String) -> Self {
        Self {
            prefix,
            shown: BTreeMap::new(),
        }
    }
}

impl Records for Configs {
    fn take(&mut self, changes: &[(&str, &Change)]) -> Result<bool, String> {
        let mut touched = false;
        for (key, change) in changes {
            let path = key.strip_prefix("cfg/");
            let Some(path) = path.filter(|path| path.starts_with(&self.prefix)) else {
                continue;
            };
            let look = match &change.put {
                Some(put) => config_stored(path, decoded(key, put)?, put.mod_revision),
                None => None,
            };
            match look {
                Some(look) => self.shown.insert(path.to_owned(), look),
                None => self.shown.remove(path),
            };
            touched = true;
        }
        Ok(touched)
    }

    fn shown(&self) -> BTreeMap<String, Look> {
        self.shown.clone()
    }

    fn causes(&self, _: &str) -> Vec<DeleteCause> {
        vec![DeleteCause::Deleted]
    }
}
