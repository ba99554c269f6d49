//! Schemas: rules for the contents of keys.
//!
//! A content has to satisfy every schema that covers its key, so that a new schema never loosens
//! what another one says, and that one goes never tightens anything. What was allowed before a
//! schema went is allowed after it, so a write has to compare only that none came: each put of a
//! schema also writes a mark, and that is what the write compares.

mod approve;
mod put;
mod read;
mod selector;
mod validator;
mod weight;

use std::{
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use crate::{
    domain::{keyspace::ConfigPath, names::Label, state::State},
    store::Revision,
};

pub use self::{
    approve::Violation,
    read::SchemasPage,
    selector::{SchemaPath, SchemaSelector},
};

pub(in crate::domain) use self::approve::told;
use self::validator::Validator;

/// A schema for contents.
#[derive(Debug, Clone)]
pub struct ConfigSchema {
    /// Which contents.
    pub path: SchemaPath,
    /// The schema, JSON.
    pub schema: String,
    /// What it is for.
    pub description: String,
    /// Who put it, unverified.
    pub author: Label,
    /// When.
    pub update_time: SystemTime,
    /// The request that put it.
    pub request_id: String,
    /// The format it was written in.
    pub format: u32,
    /// The revision that last wrote it.
    pub mod_revision: Revision,
    /// What it was made into, once it was needed.
    pub compiled: Compiled,
}

/// A schema made ready to check contents with. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Compiled(Arc<OnceLock<Validator>>);

// === impl ConfigSchema ===

impl ConfigSchema {
    /// A schema that nobody has put yet.
    pub fn new(path: SchemaPath, schema: String, description: String) -> Self {
        Self {
            path,
            schema,
            description,
            author: Label::default(),
            update_time: SystemTime::UNIX_EPOCH,
            request_id: String::new(),
            format: 0,
            mod_revision: 0,
            compiled: Compiled::default(),
        }
    }

    /// Errors: why it is no schema.
    fn validator(&self) -> Result<&Validator, String> {
        if let Some(validator) = self.compiled.0.get() {
            return Ok(validator);
        }
        let validator = Validator::new(&self.schema)?;
        Ok(self.compiled.0.get_or_init(|| validator))
    }
}

/// The schemas that cover a key.
fn covering<'a>(
    state: &'a State,
    path: &'a ConfigPath,
) -> impl Iterator<Item = &'a Arc<ConfigSchema>> {
    let schemas = state.schemas.of(&path.namespace, None);
    schemas.filter(|schema| schema.path.selector.covers(&path.key))
}
