//! Coming to a barrier: one transaction, then waiting for the others.

use std::time::Duration;

use crate::{
    cache::Freshness,
    domain::{
        error::Error,
        guard::Guard,
        keyspace::BarrierPath,
        lock::{AskWhyEnded, LetGo, Pending, Wait, WhyEnded},
        records,
        session::Session,
        session_id::SessionId,
        state::View,
    },
    store::{Compare, KeyValue, Operation, Txn},
};

use super::{
    Barriers, Participant, Passed, Refusal,
    wait::{ARRIVAL, Ticket},
};

/// How often a call starts over because others were released meanwhile, before it is told so.
const ATTEMPTS: u32 = 64;

/// Who comes to which barrier.
#[derive(Debug, Clone)]
pub struct Enter {
    /// The barrier.
    pub path: BarrierPath,
    /// How many are to be released together.
    pub parties: u32,
    /// The session that has to live until then.
    pub session: SessionId,
    /// Who it is within the session; empty: the session as such.
    pub request_id: String,
    /// How long to wait.
    pub wait: Wait,
    /// Where the call came from; empty: not known.
    pub address: String,
    /// Enters only while this holds.
    pub guard: Option<Guard>,
}

/// What came of an attempt to enter.
enum Entered {
    /// The call has a place.
    Waits(Box<Ticket>),
    /// The same request was released before.
    Passed(Passed),
    /// What the attempt was built on is no longer so.
    Again,
}

/// Says that the client is done with a call when that is dropped, unless the client is lost.
struct Cancel {
    let_go: LetGo,
    why_ended: AskWhyEnded,
}

// === impl Barriers ===

impl Barriers {
    /// Waits until enough are there, and is released together with them.
    ///
    /// A call that is dropped gives its place up: at once, or after a moment if its client is lost
    /// and may come back. Errors: those of [`Refusal`], [`Error::LeaseExpired`],
    /// [`Error::RequestUndone`], [`Error::SessionFull`], [`Error::GuardFailed`], [`Error::Draining`],
    /// [`Error::Conflict`].
    pub async fn enter(&self, request: Enter, why_ended: AskWhyEnded) -> Result<Passed, Error> {
        let let_go = LetGo::of_call();
        let mut passing = Box::pin(self.pass(request, let_go.clone()));
        // Dropped before that, so that the place knows which is dropped with it.
        let _cancel = Cancel { let_go, why_ended };
        (&mut passing).await
    }

    async fn pass(&self, request: Enter, let_go: LetGo) -> Result<Passed, Error> {
        let deadline = match request.wait {
            Wait::No => Some(self.core.clock.now()),
            // Longer than the clock can count is for ever.
            Wait::For(time) => self.core.clock.now().checked_add(time),
            Wait::Forever => None,
        };
        for attempt in 0..ATTEMPTS {
            self.core.make_way(attempt).await;
            if self.draining.is_cancelled() {
                return Err(Error::Draining);
            }
            match self.come(&request, &let_go).await? {
                Entered::Passed(passed) => return Ok(passed),
                Entered::Again => {}
                Entered::Waits(ticket) => {
                    let passed = self.await_release(&request, *ticket, deadline).await?;
                    if let Some(passed) = passed {
                        return Ok(passed);
                    }
                }
            }
        }
        Err(Error::Conflict {
            name: request.path.path(),
        })
    }

    async fn come(&self, request: &Enter, let_go: &LetGo) -> Result<Entered, Error> {
        // Not in a store of which it is not certain that it still has all it had of this barrier.
        let limit = self.core.settings.commit_timeout;
        self.core.cache.confirmed(limit).await?;
        let session = self.sessions.require(request.session).await?;
        let view = self.core.cache.view()?;
        let keys = &self.core.keys;
        let key = keys.participant(&request.path, &session.id, &request.request_id);
        let barrier = view.state.barrier(&request.path);
        if let Some(found) = barrier.and_then(|barrier| barrier.find(&key)) {
            return self.take_up(request, &session, &view, found, let_go).await;
        }
        // Without a name nothing would tell a repetition from the next time.
        let releases = barrier.and_then(|barrier| barrier.releases.as_ref());
        let passed = releases.and_then(|releases| releases.passed_by(&key));
        match passed.filter(|_| !request.request_id.is_empty()) {
            Some(passed) if passed.parties == request.parties as usize => {
                Ok(Entered::Passed(passed))
            }
            Some(passed) => {
                let parties = u32::try_from(passed.parties).unwrap_or(u32::MAX);
                Err(differs(request, parties))
            }
            None => self.wait_anew(request, &session, &view, let_go).await,
        }
    }

    /// Comes behind everybody who is there. Only if nobody was released since `view`: one of them
    /// may have been the same request.
    async fn wait_anew(
        &self,
        request: &Enter,
        session: &Session,
        view: &View,
        let_go: &LetGo,
    ) -> Result<Entered, Error> {
        self.sessions.check_room(view, &session.id, 1)?;
        self.check_parties(request, view).await?;
        let path = &request.path;
        let barrier = view.state.barrier(path);
        let limit = self.core.settings.max_participants;
        if barrier.is_some_and(|barrier| barrier.participants.len() >= limit) {
            return Err(Error::Refused(Refusal::TooManyParticipants {
                name: path.path(),
                limit,
            }));
        }
        let keys = &self.core.keys;
        let (key, session_key) = (
            keys.participant(path, &session.id, &request.request_id),
            keys.session(&session.id),
        );
        let releases = keys.barrier_releases(path);
        let participant = Participant {
            key: key.clone(),
            session: session.id,
            client_id: session.client_id.clone(),
            request_id: request.request_id.clone(),
            parties: request.parties,
            era: view.state.epoch.era,
            call: rand::random(),
            create_time: self.core.clock.system_time(),
            address: request.address.clone(),
            format: records::FORMAT,
            create_revision: 0,
            mod_revision: 0,
        };
        let value = records::encode_barrier_participant(&participant);
        let released_at = barrier.map_or(0, |barrier| barrier.released_at());
        let txn = Txn::new()
            .when(Compare::absent(key.clone()))
            .when(Compare::exists(session_key.clone()))
            .when(Compare::mod_revision(releases, released_at))
            .when(self.core.same_epoch(view))
            .then(Operation::put_leased(
                key.clone(),
                value.clone(),
                session.id.lease(),
            ))
            .otherwise(Operation::get(key.clone()))
            .otherwise(Operation::get(session_key));
        let mut pending = Pending::new(&self.abandoned, key, value, self.keep(session));
        pending.goes_with(let_go.clone());
        let response = match self.core.commit(request.guard.as_ref(), txn).await {
            Ok(response) => response,
            // It may have been written, or be written yet.
            Err(error @ Error::CommitUnknown(_)) => return Err(error),
            Err(error) => {
                pending.settled();
                return Err(error);
            }
        };
        if response.succeeded {
            pending.written();
            if response.revision <= view.revision {
                // At a revision that it had before: the store lost data.
                self.look_anew().await?;
                return Ok(Entered::Again);
            }
            let participant = Participant {
                create_revision: response.revision,
                ..participant
            };
            return Ok(Entered::Waits(Box::new(Ticket::new(
                &participant,
                view,
                pending,
            ))));
        }
        match response.found(0).map(read).transpose()? {
            Some(found) if found.call == participant.call => {
                // The first answer was lost.
                pending.written();
                return Ok(Entered::Waits(Box::new(Ticket::new(&found, view, pending))));
            }
            _ => pending.settled(),
        }
        if response.found(1).is_none() {
            return Err(Error::LeaseExpired);
        }
        self.catch_up(response.revision).await?;
        Ok(Entered::Again)
    }

    /// Takes over the place of an earlier call of the same request, which then must not give it up
    /// any more.
    async fn take_up(
        &self,
        request: &Enter,
        session: &Session,
        view: &View,
        found: &Participant,
        let_go: &LetGo,
    ) -> Result<Entered, Error> {
        records::writable(format!("a place at {}", request.path), found.format)?;
        if found.parties != request.parties {
            return Err(differs(request, found.parties));
        }
        let key = found.key.clone();
        let there = Compare::mod_revision(key.clone(), found.mod_revision);
        if found.era < view.state.epoch.claims_from {
            // Made before data was lost.
            let txn = Txn::new().when(there).then(Operation::delete(key));
            let response = self.core.commit(None, txn).await?;
            self.catch_up(response.revision).await?;
            return Ok(Entered::Again);
        }
        let participant = Participant {
            call: rand::random(),
            ..found.clone()
        };
        let value = records::encode_barrier_participant(&participant);
        let txn = Txn::new()
            .when(there)
            .then(Operation::overwrite(key.clone(), value.clone()))
            .otherwise(Operation::get(key.clone()));
        let mut pending = Pending::new(&self.abandoned, key, value, self.keep(session));
        pending.goes_with(let_go.clone());
        let response = match self.core.commit(request.guard.as_ref(), txn).await {
            Ok(response) => response,
            Err(error @ Error::CommitUnknown(_)) => return Err(error),
            Err(error) => {
                pending.settled();
                return Err(error);
            }
        };
        let there = response.found(0).map(read).transpose()?;
        if response.succeeded || there.is_some_and(|there| there.call == participant.call) {
            pending.written();
            if response.succeeded && response.revision <= view.revision {
                self.look_anew().await?;
                return Ok(Entered::Again);
            }
            return Ok(Entered::Waits(Box::new(Ticket::new(
                &participant,
                view,
                pending,
            ))));
        }
        pending.settled();
        self.catch_up(response.revision).await?;
        Ok(Entered::Again)
    }

    /// Refuses who means another number of parties than those who wait.
    async fn check_parties(&self, request: &Enter, view: &View) -> Result<(), Error> {
        let other = |view: &View| {
            let barrier = view.state.barrier(&request.path)?;
            let parties = barrier.parties(view.state.epoch.claims_from)?;
            (parties != request.parties).then_some(parties)
        };
        if other(view).is_none() {
            return Ok(());
        }
        // Whoever is in the way may be gone by now.
        let view = self.look_anew().await?;
        other(&view).map_or(Ok(()), |parties| Err(differs(request, parties)))
    }

    /// What is there now, in a history that is certain to be the store's.
    async fn look_anew(&self) -> Result<View, Error> {
        let limit = self.core.settings.commit_timeout;
        self.core.cache.confirmed(limit).await?;
        Ok(self.core.cache.read(Freshness::Linearizable).await?)
    }

    /// Waits until the cache shows what an attempt ran into.
    pub(super) async fn catch_up(&self, revision: i64) -> Result<(), Error> {
        if !self.core.cache.reached(revision, ARRIVAL).await {
            self.look_anew().await?;
        }
        Ok(())
    }

    /// How long the place of a client that was lost is kept.
    fn keep(&self, session: &Session) -> Duration {
        self.core.settings.waiter_keep.min(session.ttl / 3)
    }
}

// === impl Cancel ===

impl Drop for Cancel {
    fn drop(&mut self) {
        // Of a call that was answered nothing is left that could go.
        if (self.why_ended)() == WhyEnded::Done {
            self.let_go.say();
        }
    }
}

pub(super) fn differs(request: &Enter, parties: u32) -> Error {
    Error::Refused(Refusal::PartiesDiffer {
        name: request.path.path(),
        parties,
    })
}

fn read(kv: &KeyValue) -> Result<Participant, Error> {
    records::barrier_participant(kv).map_err(|error| Error::Internal(error.to_string()))
}
