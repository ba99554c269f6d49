//! One registration on its way: what to ask the store next, and what its answer means.

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;

use crate::{
    domain::{
        error::Error,
        keyspace::{InstanceKey, Keyspace},
        records,
        session_id::SessionId,
        state::View,
    },
    store::{Compare, KeyValue, Operation, Revision, Txn, TxnResponse},
};

use super::{
    InstanceRecord, ROUNDS,
    claim::{Owner, Registration, Seen, Verdict, decide},
};

/// A registration that is being made.
pub(super) struct Attempt<'a> {
    keys: &'a Keyspace,
    wanted: &'a Registration,
    owner: &'a Owner,
    now: SystemTime,
    seen: Seen,
    /// The session whose existence the last transaction looked at.
    asked: Option<SessionId>,
    writing: Option<InstanceRecord>,
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
            asked: None,
            writing: None,
            rounds: 0,
        }
    }

    /// What to do next.
    pub(super) fn step(&mut self) -> Step {
        if self.rounds == ROUNDS {
            return Step::Done(Err(Error::Conflict {
                name: self.wanted.key.path(),
            }));
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
        if let Some(record) = self.writing.take()
            && response.succeeded
        {
            let create_revision = match record.create_revision {
                0 => revision,
                earlier => earlier,
            };
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

    fn look_closer(&self, response: &TxnResponse) -> Result<Seen, Error> {
        let mut next = 0;
        let mut found = || {
            next += 1;
            response.found(next - 1)
        };
        let record = found().map(|kv| self.decode(kv)).transpose()?;
        if self.owner.session.is_some() {
            if found().is_none() {
                return Err(Error::LeaseExpired);
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
        let mut txn = Txn::new()
            .when(Compare::mod_revision(key.clone(), self.seen.revision()))
            .then(Operation::put(key, records::encode_instance(&record)));
        if let Some(session) = &self.owner.session {
            txn = txn
                .when(Compare::exists(self.keys.session(session)))
                .when(Compare::absent(self.fence(session)));
        }
        if let Some(gone) = &gone {
            txn = txn.when(Compare::absent(self.keys.session(gone)));
        }
        self.writing = Some(record);
        txn.failure = self.reads();
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
        let name = super::fence_name(&self.wanted.key, &self.wanted.request_id);
        self.keys.fence(session, &name)
    }

    fn decode(&self, kv: &KeyValue) -> Result<Arc<InstanceRecord>, Error> {
        super::decode(self.wanted.key.clone(), kv).map(Arc::new)
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
