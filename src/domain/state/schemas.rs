//! Schemas for contents, and when one was last put in each namespace.

use std::{ops::Bound, sync::Arc};

use bytes::Bytes;
use imbl::OrdMap;

use crate::{
    domain::{
        config::{ConfigSchema, SchemaPath},
        names::Namespace,
    },
    store::Revision,
};

/// All schemas.
#[derive(Debug, Clone, Default)]
pub struct Schemas {
    by_path: OrdMap<Bytes, Arc<ConfigSchema>>,
    puts: OrdMap<Namespace, Revision>,
}

// === impl Schemas ===

impl Schemas {
    /// The one that was put for exactly this key or prefix.
    pub fn get(&self, path: &SchemaPath) -> Option<&Arc<ConfigSchema>> {
        self.by_path.get(path.path().as_bytes())
    }

    /// Those of a namespace after the path `after`, in the order of their paths.
    pub fn of<'a>(
        &'a self,
        namespace: &Namespace,
        after: Option<&Bytes>,
    ) -> impl Iterator<Item = &'a Arc<ConfigSchema>> {
        let prefix = format!("{namespace}/");
        let start = match after {
            Some(after) => Bound::Excluded(after.clone()),
            None => Bound::Included(Bytes::from(prefix.clone())),
        };
        let below = self.by_path.range((start, Bound::Unbounded));
        below
            .take_while(move |(path, _)| path.starts_with(prefix.as_bytes()))
            .map(|(_, schema)| schema)
    }

    /// The revision at which one was last put in a namespace; `0`: none ever was.
    pub fn last_put(&self, namespace: &Namespace) -> Revision {
        self.puts.get(namespace).copied().unwrap_or_default()
    }

    pub(super) fn put(&mut self, schema: ConfigSchema) {
        let path = schema.path.path();
        self.by_path.insert(path.into(), Arc::new(schema));
    }

    pub(super) fn delete(&mut self, path: &SchemaPath) {
        self.by_path.remove(path.path().as_bytes());
    }

    pub(super) fn put_in(&mut self, namespace: Namespace, revision: Revision) {
        self.puts.insert(namespace, revision);
    }

    pub(super) fn forget_put(&mut self, namespace: &Namespace) {
        self.puts.remove(namespace);
    }
}
