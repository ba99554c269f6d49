//! Putting a schema, and deleting it.

use std::sync::Arc;

use crate::{
    domain::{
        audit::{AuditOperation, differing},
        config::Configs,
        error::Error,
        put::{Delete, Put},
        records,
        revise::{Revised, Step},
        state::View,
    },
    store::{Compare, Operation, Txn},
};

use super::{ConfigSchema, SchemaPath};

// === impl Configs ===

impl Configs {
    /// Puts a schema. One that says the same already is not written. It holds for what is written
    /// from then on.
    ///
    /// Errors: [`Error::Invalid`], [`Error::Mismatch`], [`Error::TooManySchemas`].
    pub async fn put_schema(&self, put: Put<ConfigSchema>) -> Result<Revised<ConfigSchema>, Error> {
        let path = &put.settings.path;
        let (limit, size) = (
            self.core.settings.max_schema_bytes,
            put.settings.schema.len(),
        );
        if size > limit {
            let description = format!("must be at most {limit} bytes, is {size}");
            return Err(Error::invalid("schema", description));
        }
        put.settings.validator().map_err(|error| {
            Error::invalid(
                "schema",
                format!("is no JSON Schema to check with: {error}"),
            )
        })?;
        let now = self.core.clock.system_time();
        let decide = |view: &View| {
            let seen = view.state.schemas.get(path);
            let seen = seen.map(Arc::as_ref);
            if let Some(seen) = seen.filter(|seen| put.is_repeated(&seen.request_id)) {
                return Ok(Step::Keep(seen.clone()));
            }
            let revision = seen.map_or(0, |seen| seen.mod_revision);
            Error::unless_at(put.expected_revision, revision)?;
            let same = |seen: &ConfigSchema| {
                seen.schema == put.settings.schema && seen.description == put.settings.description
            };
            if let Some(seen) = seen.filter(|seen| same(seen)) {
                return Ok(Step::Keep(seen.clone()));
            }
            let limit = self.core.settings.max_schemas;
            if seen.is_none() && view.state.schemas.of(&path.namespace, None).count() >= limit {
                return Err(Error::TooManySchemas {
                    namespace: path.namespace.to_string(),
                    limit,
                });
            }
            records::writable(path.path(), seen.map_or(0, |seen| seen.format))?;
            let wanted = ConfigSchema {
                author: put.actor.clone(),
                update_time: now,
                request_id: put.request_id.clone(),
                format: records::FORMAT,
                mod_revision: revision,
                ..put.settings.clone()
            };
            if put.validate_only {
                return Ok(Step::Would(wanted));
            }
            let key = self.core.keys.schema(path);
            let mark = self.core.keys.schema_change(&path.namespace);
            let marked = view.state.schemas.last_put(&path.namespace);
            let differs = differing([
                (
                    "schema",
                    seen.is_none_or(|seen| seen.schema != wanted.schema),
                ),
                (
                    "description",
                    seen.is_some_and(|seen| seen.description != wanted.description),
                ),
            ]);
            let deed = put.deed(AuditOperation::PutConfigSchema, &path.selector, differs);
            let txn = Txn::new()
                .when(Compare::mod_revision(key.clone(), revision))
                // Nobody has put another one, so that they are not too many.
                .when(Compare::mod_revision(mark.clone(), marked))
                .then(Operation::put(key, records::encode_config_schema(&wanted)))
                .then(Operation::put(mark, records::encode_schema_change()))
                .then(self.core.deed(&path.namespace, deed));
            Ok(Step::Send(txn, wanted))
        };
        let name = path.path();
        let revised = self.core.revise(&name, put.guard.as_ref(), decide);
        let mut revised = revised.await?;
        if revised.changed && !put.validate_only {
            revised.value.mod_revision = revised.revision;
        }
        Ok(revised)
    }

    /// Deletes a schema. A full store takes it too.
    ///
    /// Errors: [`Error::Mismatch`].
    pub async fn delete_schema(&self, delete: Delete<SchemaPath>) -> Result<Revised<()>, Error> {
        let path = &delete.key;
        let decide = |view: &View| {
            let Some(seen) = view.state.schemas.get(path) else {
                return Ok(Step::Keep(()));
            };
            Error::unless_at(delete.expected_revision, seen.mod_revision)?;
            let key = self.core.keys.schema(path);
            let txn = Txn::new()
                .when(Compare::mod_revision(key.clone(), seen.mod_revision))
                .then(Operation::delete(key));
            let deed = delete.deed(AuditOperation::DeleteConfigSchema, &path.selector);
            Ok(Step::Free(txn, self.core.deed(&path.namespace, deed), ()))
        };
        let name = path.path();
        let deleted = self.core.revise(&name, delete.guard.as_ref(), decide);
        let deleted = deleted.await?;
        if deleted.changed {
            tracing::info!(schema = name, actor = %delete.actor, "a schema was deleted");
        }
        Ok(deleted)
    }
}
