//! One registration on its way: what to ask the store next, and what its answer means.

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;

use crate::{
    domain::{
        error::Error,
        keyspace::{InstanceKey, Keyspace},
        records,
        session::Session,
        session_id::SessionId,
        state::View,
    },
    store::{Compare, KeyValue, Operation, Revision, Txn, TxnResponse},
};

use crate::domain::registry::{
    InstanceRecord, ROUNDS, decode, fence_name,
    registration::claim::{Owner, Registration, Seen, Verdict, decide},
};

/// A registration that is being made.
pub(super) struct Attempt<'a> {
    keys: &'a Keyspace,
    wanted: &'a Registration,
    owner: &'a Owner,
    now: SystemTime,
    seen: Seen,
    /// The session that is written together with the record.
    opening: Option<&'a Session>,
    /// The revision that opened it.
    opened: Option<Revision>,
    /// The session whose existence the last transaction looked at.
    asked: Option<SessionId>,
    writing: Option<InstanceRecord>,
    /// The key was not as it was seen.
    overtaken: bool,
    rounds: usize,
}

/// Where an attempt stands.
pub(super) enum Step {
    /// Carry this out, and tell [`Attempt::absorb`] the response.
    Send(Txn),
    /// It is over.
    Done(Result<Arc<InstanceRecord>, Error>),
}

// === impl Attempt ===

impl<'a> Attempt<'a> {
    /// An attempt that begins with what the cache knows.
    pub(super) fn new(
        keys: &'a Keyspace,
        wanted: &'a Registration,
        owner: &'a Owner,
        view: &View,
        now: SystemTime,
    ) -> Self {
        Self {
            keys,
            wanted,
            owner,
            now,
            seen: seen(view, &wanted.key),
            opening: None,
            opened: None,
            asked: None,
            writing: None,
            overtaken: false,
            rounds: 0,
        }
    }

    /// Has `session`, which is the owner's and not in the store yet, written with the record: both
    /// or neither.
    pub(super) fn opening(self, session: &'a Session) -> Self {
        Self {
            opening: Some(session),
            ..self
        }
    }

    /// The revision that opened the session that was to be opened, if one did.
    pub(super) fn opened(&self) -> Option<Revision> {
        self.opened
    }

    /// What to do next.
    pub(super) fn step(&mut self) -> Step {
        if self.rounds == ROUNDS {
            return Step::Done(Err(Error::Conflict {
                name: self.wanted.key.path(),
            }));
        }
        if std::mem::take(&mut self.overtaken) {
            return Step::Send(self.look());
        }
        self.rounds += 1;
        match decide(self.wanted, self.owner, &self.seen) {
            Verdict::Write { gone } => Step::Send(self.write(gone)),
            // The cache may be a moment behind: what it says is not the end of the matter.
            Verdict::Current(_) | Verdict::Refuse(_) if !self.seen.confirmed => {
                Step::Send(self.look())
            }
            Verdict::Ask => Step::Send(self.look()),
            Verdict::Current(record) => Step::Done(Ok(record)),
            Verdict::Refuse(error) => Step::Done(Err(error)),
        }
    }

    /// Takes in what the store said to the last step; `Some` if that ends the attempt.
    pub(super) fn absorb(
        &mut self,
        response: &TxnResponse,
        revision: Revision,
    ) -> Option<Result<Arc<InstanceRecord>, Error>> {
        if let Some(record) = self.writing.take() {
            if !response.succeeded {
                self.overtaken = true;
                return None;
            }
            let create_revision = match record.create_revision {
                0 => revision,
                earlier => earlier,
            };
            if self.opening.take().is_some() {
                self.opened = Some(revision);
            }
            return Some(Ok(Arc::new(InstanceRecord {
                create_revision,
                mod_revision: revision,
                ..record
            })));
        }
        match self.look_closer(response) {
            Ok(seen) => {
                self.seen = seen;
                None
            }
            Err(error) => Some(Err(error)),
        }
    }

    fn look_closer(&mut self, response: &TxnResponse) -> Result<Seen, Error> {
        let mut next = 0;
        let mut found = || {
            next += 1;
            response.found(next - 1)
        };
        let record = found().map(|kv| self.decode(kv)).transpose()?;
        if self.owner.session.is_some() {
            match found() {
                // Its id is new: this is the work of an attempt whose answer was lost.
                Some(session) if self.opening.take().is_some() => {
                    self.opened = Some(session.create_revision);
                }
                None if self.opening.is_none() => return Err(Error::LeaseExpired),
                Some(_) | None => {}
            }
            if found().is_some() {
                return Err(Error::RequestUndone);
            }
        }
        let asked_lives = self.asked.map(|_| found().is_some());
        let session = record.as_ref().and_then(|record| record.session);
        Ok(Seen {
            owner_lives: asked_lives.filter(|_| self.asked == session),
            record,
            confirmed: true,
        })
    }

    /// Reads nothing when it fails: that is rare, and the store decodes and logs the reads of every
    /// registration.
    fn write(&mut self, gone: Option<SessionId>) -> Txn {
        let record = InstanceRecord {
            key: self.wanted.key.clone(),
            spec: self.wanted.spec.clone(),
            session: self.owner.session,
            client_id: self.owner.client_id.clone(),
            request_id: self.wanted.request_id.clone(),
            register_request_id: self.wanted.request_id.clone(),
            actor: self.wanted.actor.clone(),
            register_time: self.now,
            format: records::FORMAT,
            create_revision: self
                .seen
                .record
                .as_ref()
                .map_or(0, |record| record.create_revision),
            mod_revision: 0,
        };
        let key = self.keys.instance(&record.key);
        let mut txn = Txn::new().when(Compare::mod_revision(key.clone(), self.seen.revision()));
        if let Some(session) = &self.owner.session {
            let key = self.keys.session(session);
            txn = match self.opening {
                None => txn
                    .when(Compare::exists(key))
                    .when(Compare::absent(self.fence(session))),
                // Nobody can have undone it, as that takes the session: it is there then, or gone
                // with its lease.
                Some(opening) => {
                    let value = records::encode_session(opening);
                    txn.when(Compare::absent(key.clone()))
                        .then(Operation::put_leased(key, value, session.lease()))
                }
            };
        }
        txn = txn.then(Operation::put(key, records::encode_instance(&record)));
        if let Some(gone) = &gone {
            txn = txn.when(Compare::absent(self.keys.session(gone)));
        }
        self.writing = Some(record);
        txn
    }

    fn look(&mut self) -> Txn {
        Txn {
            success: self.reads(),
            ..Txn::new()
        }
    }

    /// What it takes to decide: in the order in which [`Attempt::look_closer`] reads it.
    fn reads(&mut self) -> Vec<Operation> {
        let mut reads = vec![Operation::get(self.keys.instance(&self.wanted.key))];
        if let Some(session) = &self.owner.session {
            reads.push(Operation::get(self.keys.session(session)));
            reads.push(Operation::get(self.fence(session)));
        }
        self.asked = self
            .seen
            .record
            .as_ref()
            .and_then(|record| record.session)
            .filter(|session| Some(*session) != self.owner.session);
        if let Some(asked) = &self.asked {
            reads.push(Operation::get(self.keys.session(asked)));
        }
        reads
    }

    fn fence(&self, session: &SessionId) -> Bytes {
        let name = fence_name(&self.wanted.key, &self.wanted.request_id);
        self.keys.fence(session, &name)
    }

    fn decode(&self, kv: &KeyValue) -> Result<Arc<InstanceRecord>, Error> {
        decode(self.wanted.key.clone(), kv).map(Arc::new)
    }
}

fn seen(view: &View, key: &InstanceKey) -> Seen {
    let record = view
        .state
        .instances
        .get(key.path().as_bytes())
        .map(|instance| instance.record.clone());
    let owner_lives = record
        .as_ref()
        .and_then(|record| record.session)
        .map(|session| view.state.sessions.contains_key(&session));
    Seen {
        record,
        owner_lives,
        confirmed: false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::domain::{
        names::{InstanceId, Label, Namespace, ServiceName},
        registry::InstanceSpec,
    };

    use super::*;

    #[test]
    fn a_registration_reads_only_after_it_found_the_key_otherwise() {
        let keys = Keyspace::new("stanchion");
        let wanted = Registration {
            key: InstanceKey {
                namespace: Namespace::parse("default").unwrap(),
                service: ServiceName::parse("web").unwrap(),
                id: InstanceId::parse("1").unwrap(),
            },
            spec: InstanceSpec::default(),
            takeover: false,
            expected_revision: None,
            request_id: "request".into(),
            actor: Label::default(),
        };
        let owner = Owner {
            session: Some(SessionId::random()),
            client_id: Label::default(),
        };
        let view = View {
            state: Arc::default(),
            revision: 1,
            age: Duration::ZERO,
        };
        let mut attempt = Attempt::new(&keys, &wanted, &owner, &view, SystemTime::UNIX_EPOCH);
        let Step::Send(write) = attempt.step() else {
            panic!("nothing is sent");
        };
        // The key, its session, and the mark of its undoing.
        assert_eq!((write.compares.len(), write.success.len()), (3, 1));
        assert!(write.failure.is_empty());
        let failed = TxnResponse {
            succeeded: false,
            revision: 7,
            responses: Vec::new(),
        };
        assert!(attempt.absorb(&failed, 7).is_none());
        let Step::Send(look) = attempt.step() else {
            panic!("nothing is sent");
        };
        assert!(look.compares.is_empty());
        let reads = |step: &Operation| matches!(step, Operation::Range(_));
        assert!(look.success.len() == 3 && look.success.iter().all(reads));
    }
}
