//! Changing what is known of an instance.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    domain::{
        error::Error, guard::Guard, keyspace::InstanceKey, names::Label, records,
        session_id::SessionId,
    },
    store::{Compare, Operation, Revision, Txn},
};

use crate::domain::registry::{
    HealthCheck, Instance, InstanceRecord, InstanceSpec, Port, ROUNDS, Registry, decode, not_found,
    random_request_id,
};

/// New values; `None` leaves what is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstancePatch {
    /// The address.
    pub address: Option<String>,
    /// The ports, all of them.
    pub ports: Option<Vec<Port>>,
    /// The weight.
    pub weight: Option<u32>,
    /// The version.
    pub version: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// The zone.
    pub zone: Option<String>,
    /// The metadata, all of it.
    pub metadata: Option<BTreeMap<String, String>>,
    /// The checks, all of them.
    pub checks: Option<Vec<HealthCheck>>,
}

/// A change of an instance.
#[derive(Debug, Clone)]
pub struct Update {
    /// Which instance.
    pub key: InstanceKey,
    /// What changes.
    pub patch: InstancePatch,
    /// The session it must belong to; `None`: whoever owns it.
    pub session: Option<SessionId>,
    /// The revision the registration must have.
    pub expected_revision: Option<Revision>,
    /// The name of the request; empty: none.
    pub request_id: String,
    /// The lock that must be held.
    pub guard: Option<Guard>,
    /// Who asks, unverified.
    pub actor: Label,
}

/// What came of an update.
#[derive(Debug)]
pub struct Updated {
    /// The instance as it is now.
    pub instance: Arc<Instance>,
    /// The revision at which it is so.
    pub revision: Revision,
}

enum Verdict {
    Current(Arc<InstanceRecord>),
    Write(Box<InstanceRecord>),
    Refuse(Error),
}

// === impl Registry ===

impl Registry {
    /// Changes an instance. What is the same already is not written.
    ///
    /// Errors: [`Error::NotFound`], [`Error::NotOwner`], [`Error::Mismatch`],
    /// [`Error::LeaseExpired`] if the session given is gone.
    pub async fn update(&self, mut update: Update) -> Result<Updated, Error> {
        if update.request_id.is_empty() {
            update.request_id = random_request_id();
        }
        let key = self.core.keys.instance(&update.key);
        let reads = || {
            let session = update.session.iter();
            let session = session.map(|session| Operation::get(self.core.keys.session(session)));
            [Operation::get(key.clone())]
                .into_iter()
                .chain(session)
                .collect::<Vec<_>>()
        };
        let view = self.core.cache.view()?;
        let mut seen = view
            .state
            .instances
            .get(update.key.path().as_bytes())
            .map(|instance| instance.record.clone());
        // The revision at which the store was asked; the cache may be a moment behind.
        let mut confirmed = None;
        for _ in 0..ROUNDS {
            let (writing, txn) = match (update.decide(seen.as_ref()), confirmed) {
                (Verdict::Write(record), _) => {
                    let value = records::encode_instance(&record);
                    let mut txn = Txn::new()
                        .when(Compare::mod_revision(key.clone(), record.mod_revision))
                        .then(Operation::put(key.clone(), value));
                    if let Some(session) = &update.session {
                        txn = txn.when(Compare::exists(self.core.keys.session(session)));
                    }
                    txn.failure = reads();
                    (Some(record), txn)
                }
                (Verdict::Current(record), Some(revision)) => {
                    return Ok(Updated {
                        instance: self.shown(record, revision),
                        revision,
                    });
                }
                (Verdict::Refuse(error), Some(_)) => return Err(error),
                (Verdict::Current(_) | Verdict::Refuse(_), None) => {
                    let mut txn = Txn::new();
                    txn.success = reads();
                    (None, txn)
                }
            };
            let response = self.core.commit(update.guard.as_ref(), txn).await?;
            let revision = response.revision;
            if let Some(record) = writing
                && response.succeeded
            {
                let record = InstanceRecord {
                    mod_revision: revision,
                    ..*record
                };
                return Ok(Updated {
                    instance: self.shown(Arc::new(record), revision),
                    revision,
                });
            }
            seen = response
                .found(0)
                .map(|kv| decode(update.key.clone(), kv).map(Arc::new))
                .transpose()?;
            let owned = seen.as_ref().is_some_and(|r| r.session == update.session);
            if update.session.is_some() && owned && response.found(1).is_none() {
                return Err(Error::LeaseExpired);
            }
            confirmed = Some(revision);
        }
        Err(Error::Conflict {
            name: update.key.path(),
        })
    }
}

// === impl Update ===

impl Update {
    fn decide(&self, seen: Option<&Arc<InstanceRecord>>) -> Verdict {
        let Some(record) = seen else {
            return Verdict::Refuse(not_found(&self.key));
        };
        if self.session.is_some() && record.session != self.session {
            return Verdict::Refuse(Error::NotOwner {
                name: self.key.path(),
            });
        }
        // Before anything is compared: the first answer is the answer.
        if record.request_id == self.request_id {
            return Verdict::Current(record.clone());
        }
        if let Err(error) = Error::unless_at(self.expected_revision, record.mod_revision) {
            return Verdict::Refuse(error);
        }
        let spec = self.patch.apply(&record.spec);
        if spec == record.spec {
            return Verdict::Current(record.clone());
        }
        match records::writable(self.key.path(), record.format) {
            Err(error) => Verdict::Refuse(error),
            Ok(()) => Verdict::Write(Box::new(InstanceRecord {
                spec,
                request_id: self.request_id.clone(),
                actor: self.actor.clone(),
                ..InstanceRecord::clone(record)
            })),
        }
    }
}

// === impl InstancePatch ===

impl InstancePatch {
    fn apply(&self, spec: &InstanceSpec) -> InstanceSpec {
        fn pick<T: Clone>(new: &Option<T>, old: &T) -> T {
            new.clone().unwrap_or_else(|| old.clone())
        }
        InstanceSpec {
            address: pick(&self.address, &spec.address),
            ports: pick(&self.ports, &spec.ports),
            weight: pick(&self.weight, &spec.weight),
            version: pick(&self.version, &spec.version),
            region: pick(&self.region, &spec.region),
            zone: pick(&self.zone, &spec.zone),
            metadata: pick(&self.metadata, &spec.metadata),
            checks: pick(&self.checks, &spec.checks),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_changes_what_it_names_and_leaves_the_rest() {
        let spec = InstanceSpec {
            address: "a".into(),
            weight: 100,
            zone: "z1".into(),
            ..InstanceSpec::default()
        };
        let patch = InstancePatch {
            weight: Some(0),
            zone: Some(String::new()),
            ..InstancePatch::default()
        };
        let patched = patch.apply(&spec);
        assert_eq!((patched.weight, patched.zone.as_str()), (0, ""));
        assert_eq!(patched.address, "a");
        assert_eq!(InstancePatch::default().apply(&spec), spec);
    }
}
