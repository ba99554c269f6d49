//! Setting things for a namespace, and taking them back.

use std::sync::Arc;

use crate::{
    domain::{
        Revised,
        audit::{AuditOperation, differing},
        error::Error,
        keyspace::Keyspace,
        names::Namespace,
        put::{Delete, Put},
        records,
        revise::Step,
        state::{State, View},
    },
    store::{Compare, Operation, Txn},
};

use super::{NamespaceSettings, Namespaces};

// === impl Namespaces ===

impl Namespaces {
    /// Sets things for a namespace, all at once. What is the same already is not written.
    ///
    /// Errors: [`Error::Mismatch`].
    pub async fn put(
        &self,
        put: Put<NamespaceSettings>,
    ) -> Result<Revised<NamespaceSettings>, Error> {
        let namespace = &put.settings.namespace;
        let now = self.core.clock.system_time();
        let decide = |view: &View| {
            let seen = view.state.namespaces.get(namespace).map(Arc::as_ref);
            let revision = seen.map_or(0, |seen| seen.mod_revision);
            let unset = NamespaceSettings::unset(namespace.clone());
            let base = seen.unwrap_or(&unset);
            if let Some(seen) = seen.filter(|seen| put.is_repeated(&seen.request_id)) {
                return Ok(Step::Keep(seen.clone()));
            }
            Error::unless_at(put.expected_revision, revision)?;
            let same = NamespaceSettings {
                description: put.settings.description.clone(),
                labels: put.settings.labels.clone(),
                quotas: put.settings.quotas,
                ..base.clone()
            };
            if let Some(seen) = seen.filter(|seen| **seen == same) {
                return Ok(Step::Keep(seen.clone()));
            }
            records::writable(namespace.as_str(), base.format)?;
            let wanted = NamespaceSettings {
                author: put.actor.clone(),
                update_time: now,
                request_id: put.request_id.clone(),
                format: records::FORMAT,
                ..same
            };
            if put.validate_only {
                return Ok(Step::Would(wanted));
            }
            let key = self.core.keys.namespace(namespace);
            let differs = differing([
                ("description", base.description != wanted.description),
                ("labels", base.labels != wanted.labels),
                ("quotas", base.quotas != wanted.quotas),
            ]);
            let deed = put.deed(AuditOperation::PutNamespace, namespace, differs);
            let txn = Txn::new()
                .when(Compare::mod_revision(key.clone(), revision))
                .then(Operation::put(key, records::encode_namespace(&wanted)))
                .then(self.core.deed(namespace, deed));
            Ok(Step::Send(txn, wanted))
        };
        let revised = self
            .core
            .revise(namespace.as_str(), put.guard.as_ref(), decide);
        let mut revised = revised.await?;
        if revised.changed && !put.validate_only {
            revised.value.mod_revision = revised.revision;
        }
        Ok(revised)
    }

    /// Takes back what was set for a namespace that has nothing in it. A full store
    /// takes it too.
    ///
    /// Errors: [`Error::NamespaceNotEmpty`], [`Error::Mismatch`].
    pub async fn delete(&self, delete: Delete<Namespace>) -> Result<Revised<()>, Error> {
        let namespace = &delete.key;
        let decide = |view: &View| {
            let holds = contents(&view.state, namespace);
            if !holds.is_empty() {
                return Err(Error::NamespaceNotEmpty {
                    namespace: namespace.to_string(),
                    holds: holds.join(", "),
                });
            }
            let Some(seen) = view.state.namespaces.get(namespace) else {
                return Ok(Step::Keep(()));
            };
            Error::unless_at(delete.expected_revision, seen.mod_revision)?;
            let key = self.core.keys.namespace(namespace);
            let txn = Txn::new()
                .when(Compare::mod_revision(key.clone(), seen.mod_revision))
                .when_all(nothing_in(&self.core.keys, namespace))
                .then(Operation::delete(key))
                // When a schema was last put there, where none is any more.
                .then(Operation::delete(self.core.keys.schema_change(namespace)));
            let deed = delete.deed(AuditOperation::DeleteNamespace, namespace);
            Ok(Step::Free(txn, self.core.deed(namespace, deed), ()))
        };
        let deleted = self
            .core
            .revise(namespace.as_str(), delete.guard.as_ref(), decide);
        let deleted = deleted.await?;
        if deleted.changed {
            tracing::info!(%namespace, actor = %delete.actor, "the settings of a namespace were deleted");
        }
        Ok(deleted)
    }
}

/// What is in a namespace, in words.
fn contents(state: &State, namespace: &Namespace) -> Vec<String> {
    let prefix = format!("{namespace}/");
    let usage = state.usage_of(namespace).cloned().unwrap_or_default();
    // Not counted as they come and go, because nobody else asks.
    let settings = State::under(&state.settings, prefix.as_bytes(), None).count();
    let schemas = state.schemas.of(namespace, None).count();
    let decisions = State::under(&state.operators, prefix.as_bytes(), None).count();
    [
        (usage.instances, "instances"),
        (settings, "services with settings"),
        (decisions, "decisions about instances"),
        (usage.configs, "configs"),
        (schemas, "schemas"),
        (usage.locks, "locks"),
        (usage.elections, "elections"),
        (usage.barriers, "barriers"),
        (usage.latches, "latches"),
    ]
    .into_iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, what)| format!("{number} {what}"))
    .collect()
}

/// The conditions that nothing came into a namespace meanwhile. Configs are not among them: the
/// marks that deleted ones leave do not count.
fn nothing_in(keys: &Keyspace, namespace: &Namespace) -> impl Iterator<Item = Compare> {
    keys.contents(namespace).into_iter().map(Compare::empty)
}
