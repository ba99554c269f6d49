//! Setting things for a service, and taking them back.

use std::sync::Arc;

use crate::{
    cache::Freshness,
    domain::{
        audit::{AuditOperation, differing},
        error::{Error, Resource},
        keyspace::ServiceKey,
        put::{Delete, Put},
        records,
        revise::{Revised, Step},
        state::View,
    },
    store::{Compare, Operation, Txn},
};

use crate::domain::registry::{Registry, Service, ServiceSettings, selection::alias};

// === impl Registry ===

impl Registry {
    /// Sets things for a service, all at once. What is the same already is not written.
    ///
    /// Errors: [`Error::Mismatch`], [`Error::AliasChain`], [`Error::NotExported`].
    pub async fn put_service(
        &self,
        put: Put<ServiceSettings>,
    ) -> Result<Revised<ServiceSettings>, Error> {
        let path = put.settings.key.path();
        let now = self.core.clock.system_time();
        let decide = |view: &View| {
            let seen = view.state.settings.get(path.as_bytes()).map(Arc::as_ref);
            let revision = seen.map_or(0, |seen| seen.mod_revision);
            let unset = ServiceSettings::unset(put.settings.key.clone());
            let base = seen.unwrap_or(&unset);
            if let Some(seen) = seen.filter(|seen| put.is_repeated(&seen.request_id)) {
                return Ok(Step::Keep(seen.clone()));
            }
            Error::unless_at(put.expected_revision, revision)?;
            // All that is not set by this call stays as it is.
            let same = ServiceSettings {
                brake_released_until: base.brake_released_until,
                author: base.author.clone(),
                update_time: base.update_time,
                request_id: base.request_id.clone(),
                format: base.format,
                create_revision: base.create_revision,
                mod_revision: base.mod_revision,
                ..put.settings.clone()
            };
            if let Some(seen) = seen.filter(|seen| **seen == same) {
                return Ok(Step::Keep(seen.clone()));
            }
            records::writable(&path, base.format)?;
            let wanted = ServiceSettings {
                author: put.actor.clone(),
                update_time: now,
                request_id: put.request_id.clone(),
                format: records::FORMAT,
                ..same
            };
            alias::check(&wanted, &view.state)?;
            if put.validate_only {
                return Ok(Step::Would(wanted));
            }
            let key = self.core.keys.service(&wanted.key);
            let txn = Txn::new()
                .when(Compare::mod_revision(key.clone(), revision))
                .when_all(alias::nothing_set_since(
                    view.revision,
                    &wanted,
                    &self.core.keys,
                ))
                .then(Operation::put(key, records::encode_service(&wanted)))
                .then(self.core.deed(
                    &wanted.key.namespace,
                    put.deed(
                        AuditOperation::PutService,
                        &wanted.key.service,
                        differences(base, &wanted),
                    ),
                ));
            Ok(Step::Send(txn, wanted))
        };
        let mut revised = self.core.revise(&path, put.guard.as_ref(), decide).await?;
        if revised.changed && !put.validate_only {
            revised.value.mod_revision = revised.revision;
        }
        Ok(revised)
    }

    /// Takes back what was set for a service. A full store takes it too.
    ///
    /// Errors: [`Error::Mismatch`].
    pub async fn delete_service(&self, delete: Delete<ServiceKey>) -> Result<Revised<()>, Error> {
        let path = delete.key.path();
        let decide = |view: &View| {
            let Some(seen) = view.state.settings.get(path.as_bytes()) else {
                return Ok(Step::Keep(()));
            };
            Error::unless_at(delete.expected_revision, seen.mod_revision)?;
            let key = self.core.keys.service(&delete.key);
            let txn = Txn::new()
                .when(Compare::mod_revision(key.clone(), seen.mod_revision))
                .then(Operation::delete(key));
            let deed = delete.deed(AuditOperation::DeleteService, &delete.key.service);
            let entry = self.core.deed(&delete.key.namespace, deed);
            Ok(Step::Free(txn, entry, ()))
        };
        let deleted = self.core.revise(&path, delete.guard.as_ref(), decide);
        let deleted = deleted.await?;
        if deleted.changed {
            tracing::info!(service = %path, actor = %delete.actor, "the settings of a service were deleted");
        }
        Ok(deleted)
    }

    /// Reads what was set for a service, and what its instances come to.
    ///
    /// Errors: [`Error::NotFound`] if there is neither.
    pub async fn get_service(
        &self,
        key: &ServiceKey,
        freshness: Freshness,
    ) -> Result<(Option<Arc<ServiceSettings>>, Option<Arc<Service>>, View), Error> {
        let view = self.core.cache.read(freshness).await?;
        let path = key.path();
        let settings = view.state.settings.get(path.as_bytes()).cloned();
        let service = view.state.services.get(path.as_bytes()).cloned();
        if settings.is_none() && service.is_none() {
            return Err(Error::NotFound {
                resource: Resource::Service,
                name: path,
            });
        }
        Ok((settings, service, view))
    }
}

/// Which settings of a service differ.
fn differences(before: &ServiceSettings, after: &ServiceSettings) -> String {
    let fields = [
        ("checks", before.checks != after.checks),
        (
            "panic_threshold",
            before.panic_threshold != after.panic_threshold,
        ),
        ("brake_off", before.brake_off != after.brake_off),
        (
            "remove_unhealthy_after",
            before.remove_unhealthy_after != after.remove_unhealthy_after,
        ),
        ("flap_damping", before.flap_damping != after.flap_damping),
        ("slow_start", before.slow_start != after.slow_start),
        ("labels", before.labels != after.labels),
        ("description", before.description != after.description),
        ("alias_of", before.alias_of != after.alias_of),
        ("exported_to", before.exported_to != after.exported_to),
    ];
    differing(fields)
}
