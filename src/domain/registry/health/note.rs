//! Writing down what was found about an instance.

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;

use crate::{
    domain::{error::Error, guard::Guard, keyspace::InstanceKey, records, session_id::SessionId},
    store::{Compare, Operation, Revision, Txn, TxnResponse},
};

use crate::domain::registry::{
    Finding, Findings, Instance, InstanceRecord, Observation, ROUNDS, Registration, Registry,
    Source, decode, health::observation::Subject, not_found,
};

/// How many different reporters an instance's findings name.
const MAX_REPORTERS: usize = 16;

/// Something to be written down about an instance.
#[derive(Debug, Clone)]
pub struct Note {
    /// Which instance.
    pub key: InstanceKey,
    /// The registration it is about; `None`: the one that is there.
    pub registration: Option<Registration>,
    /// The session the instance must belong to; `None`: any, or none.
    pub session: Option<SessionId>,
    /// What was found.
    pub observation: Observation,
    /// The lock that must be held.
    pub guard: Option<Guard>,
}

/// What came of a note.
#[derive(Debug)]
pub struct Noted {
    /// The instance as it is now.
    pub instance: Arc<Instance>,
    /// The revision at which it is so.
    pub revision: Revision,
}

/// What is known of the instance so far.
struct Seen {
    record: Option<Arc<InstanceRecord>>,
    findings: Option<Arc<Findings>>,
    /// The revision at which the store said so; none if the cache did, which may be a moment behind.
    confirmed: Option<Revision>,
}

// === impl Registry ===

impl Registry {
    /// Writes down what was found, unless it is known already.
    ///
    /// Errors: [`Error::NotFound`] if the instance is not there, or is another registration than
    /// the one meant; [`Error::NotOwner`] and [`Error::LeaseExpired`] for a session that is not the
    /// instance's, or gone; [`Error::TooManyReporters`],
    /// [`Error::GuardFailed`].
    pub async fn note(&self, note: &Note) -> Result<Noted, Error> {
        let findings_key = self.core.keys.health(&note.key);
        let mut seen = self.seen(&note.key)?;
        // One time for all attempts: each makes of the same the same, and knows what it has done.
        let now = self.core.clock.system_time();
        for _ in 0..ROUNDS {
            let wanted = self.judge(note, &seen, now);
            let (record, findings) = match (wanted, seen.confirmed) {
                (Ok((record, None)), Some(revision)) => {
                    return Ok(Noted {
                        instance: self.shown(record, revision),
                        revision,
                    });
                }
                (Err(error), Some(_)) => return Err(error),
                (Ok((_, None)) | Err(_), None) => {
                    let response = self
                        .core
                        .commit(note.guard.as_ref(), self.look(note))
                        .await?;
                    seen = self.looked(note, &response)?;
                    continue;
                }
                (Ok((record, Some(findings))), _) => (record, findings),
            };
            let mut txn = Txn::new()
                .when(Compare::mod_revision(
                    findings_key.clone(),
                    findings.mod_revision,
                ))
                .when(Compare::create_revision(
                    self.core.keys.instance(&note.key),
                    record.create_revision,
                ))
                .then(Operation::put(
                    findings_key.clone(),
                    records::encode_findings(&findings),
                ));
            if let Some(session) = &note.session {
                txn = txn.when(Compare::exists(self.core.keys.session(session)));
            }
            txn.failure = self.look(note).success;
            let response = self.core.commit(note.guard.as_ref(), txn).await?;
            if response.succeeded {
                return Ok(Noted {
                    instance: self.shown(record, response.revision),
                    revision: response.revision,
                });
            }
            seen = self.looked(note, &response)?;
        }
        Err(Error::Conflict {
            name: note.key.path(),
        })
    }

    /// The record, and the findings as they must become; none if they are so already.
    fn judge(
        &self,
        note: &Note,
        seen: &Seen,
        now: SystemTime,
    ) -> Result<(Arc<InstanceRecord>, Option<Findings>), Error> {
        let meant = |record: &&Arc<InstanceRecord>| {
            let meant = note.registration.as_ref();
            meant.is_none_or(|meant| *meant == record.registration())
        };
        let record = seen.record.as_ref().filter(meant);
        let record = record.ok_or_else(|| not_found(&note.key))?;
        if note.session.is_some() && record.session != note.session {
            return Err(Error::NotOwner {
                name: note.key.path(),
            });
        }
        let view = self.core.cache.view()?;
        let service = record.key.service_key().path();
        let before = seen.findings.as_deref();
        let subject = Subject {
            record,
            checks: view.state.checks_of(record),
            settings: view.state.settings.get(service.as_bytes()).map(Arc::as_ref),
            now,
        };
        let after = subject.with(before, &note.observation);
        if before == Some(&after) {
            return Ok((record.clone(), None));
        }
        records::writable(note.key.path(), after.format)?;
        let reports = |finding: &&Finding| matches!(finding.source, Source::Report { .. });
        if after.findings.iter().filter(reports).count() > MAX_REPORTERS {
            return Err(Error::TooManyReporters {
                name: note.key.path(),
                limit: MAX_REPORTERS,
            });
        }
        Ok((record.clone(), Some(after)))
    }

    fn seen(&self, key: &InstanceKey) -> Result<Seen, Error> {
        let view = self.core.cache.view()?;
        let path = Bytes::from(key.path());
        let instance = view.state.instances.get(&path);
        Ok(Seen {
            record: instance.map(|instance| instance.record.clone()),
            findings: view.state.health.get(&path).cloned(),
            confirmed: None,
        })
    }

    /// Reads what a note depends on.
    fn look(&self, note: &Note) -> Txn {
        let keys = &self.core.keys;
        let mut txn = Txn::new()
            .then(Operation::get(keys.instance(&note.key)))
            .then(Operation::get(keys.health(&note.key)));
        if let Some(session) = &note.session {
            txn = txn.then(Operation::get(keys.session(session)));
        }
        txn
    }

    fn looked(&self, note: &Note, response: &TxnResponse) -> Result<Seen, Error> {
        let record = response.found(0);
        let record = record.map(|kv| decode(note.key.clone(), kv).map(Arc::new));
        let record = record.transpose()?;
        let owned = record.as_ref().is_some_and(|r| r.session == note.session);
        if note.session.is_some() && owned && response.found(2).is_none() {
            return Err(Error::LeaseExpired);
        }
        let findings = response.found(1).map(records::findings).transpose();
        let findings = findings.map_err(|error| {
            let name = note.key.path();
            Error::Internal(format!("the findings about instance {name}: {error}"))
        })?;
        Ok(Seen {
            record,
            findings: findings.map(Arc::new),
            confirmed: Some(response.revision),
        })
    }
}
