//! Opening a session: a lease, and the session key under it.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    cache::Freshness,
    domain::{
        error::Error, guard::Guard, names::Label, records, session_id::SessionId, state::View,
    },
    store::{Compare, Operation, Revision, Txn},
};

use super::{Session, Sessions};

/// How long the lease of a session that was not opened after all may keep its caller waiting.
const UNDO_TIMEOUT: Duration = Duration::from_secs(1);

/// What a client asks for.
#[derive(Debug, Clone, Default)]
pub struct OpenSession {
    /// The time to live; `None`: the default.
    pub ttl: Option<Duration>,
    /// How the client calls itself; may be empty.
    pub client_id: Label,
    /// Anything the client says of itself.
    pub metadata: BTreeMap<String, String>,
    /// The name of this request; empty: it has none, and each repetition opens another session.
    pub request_id: String,
    /// The identity that asks.
    pub principal: String,
}

/// A session whose lease is granted, and whose key is still to be written.
#[derive(Debug)]
pub(in crate::domain) struct Unopened {
    /// The session, without the revision that opens it.
    pub(in crate::domain) session: Arc<Session>,
    /// When the lease was asked for.
    sent: Instant,
}

/// What a wish for a session comes to.
pub(in crate::domain) enum Prepared {
    /// The same request opened one before.
    Found(Opened),
    /// A new one, to be written.
    New(Unopened),
}

/// A session that was opened.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The session, with the time to live that was granted.
    pub session: Arc<Session>,
    /// Until when it surely lives.
    pub valid_until: Instant,
    /// The revision that opened it.
    pub revision: Revision,
}

// === impl Sessions ===

impl Sessions {
    /// Opens a session, or finds the one that the same request opened before.
    ///
    /// Errors: [`Error::Invalid`] for a `ttl` out of range, [`Error::GuardFailed`].
    pub async fn open(&self, open: OpenSession, guard: Option<&Guard>) -> Result<Opened, Error> {
        let unopened = match self.prepare(open).await? {
            Prepared::Found(opened) => return Ok(opened),
            Prepared::New(unopened) => unopened,
        };
        match self.write(&unopened.session, guard).await {
            Ok(revision) => Ok(self.opened(unopened, revision)),
            Err(error) => {
                self.abandon(&unopened).await;
                Err(error)
            }
        }
    }

    /// Grants the lease of a session, which whoever asked writes to the store together with what
    /// depends on it; or finds the one that the same request opened before.
    pub(in crate::domain) async fn prepare(&self, open: OpenSession) -> Result<Prepared, Error> {
        let ttl = self.wanted_ttl(open.ttl)?;
        if !open.request_id.is_empty()
            && let Some(session) = self.opened_before(&open.request_id).await?
        {
            let alive = self.heartbeat(session.id).await?;
            return Ok(Prepared::Found(Opened {
                revision: session.create_revision,
                valid_until: alive.valid_until,
                session,
            }));
        }
        let id = self.ids.next(self.core.clock.system_time());
        let sent = self.core.clock.now();
        let ttl = self.core.store.grant(id.lease(), ttl).await?;
        let session = Arc::new(Session {
            id,
            client_id: open.client_id,
            ttl,
            request_id: open.request_id,
            metadata: open.metadata,
            principal: open.principal,
            replica: self.core.replica.to_string(),
            open_time: self.core.clock.system_time(),
            format: records::FORMAT,
            create_revision: 0,
            mod_revision: 0,
        });
        Ok(Prepared::New(Unopened { session, sent }))
    }

    /// Notes that `revision` opened a session: heartbeats keep it alive from now on.
    pub(in crate::domain) fn opened(&self, unopened: Unopened, revision: Revision) -> Opened {
        let Unopened { mut session, sent } = unopened;
        let opened = Arc::make_mut(&mut session);
        opened.create_revision = revision;
        opened.mod_revision = revision;
        self.renewals.granted(session.id, session.ttl, sent);
        Opened {
            revision,
            valid_until: sent + session.ttl,
            session,
        }
    }

    /// Gives up a session that came to nothing.
    pub(in crate::domain) async fn abandon(&self, unopened: &Unopened) {
        self.give_back(&unopened.session.id, UNDO_TIMEOUT).await;
    }

    fn wanted_ttl(&self, ttl: Option<Duration>) -> Result<Duration, Error> {
        let settings = &self.core.settings;
        let ttl = ttl.unwrap_or(settings.default_ttl);
        if ttl < settings.min_ttl || ttl > settings.max_ttl {
            let (min, max) = (settings.min_ttl, settings.max_ttl);
            return Err(Error::invalid(
                "ttl",
                format!("must be from {min:?} to {max:?}, is {ttl:?}"),
            ));
        }
        Ok(ttl)
    }

    async fn opened_before(&self, request_id: &str) -> Result<Option<Arc<Session>>, Error> {
        let find = |view: View| {
            let id = view.state.sessions_by_request.get(request_id)?;
            view.state.sessions.get(id).cloned()
        };
        if let Some(session) = find(self.core.cache.view()?) {
            return Ok(Some(session));
        }
        // The first attempt may have reached another replica.
        Ok(find(self.core.cache.read(Freshness::Linearizable).await?))
    }

    /// Writes the session key, and returns the revision that did it. The id is new, so a key that
    /// is there already is our own, from an attempt whose answer was lost.
    async fn write(&self, session: &Session, guard: Option<&Guard>) -> Result<Revision, Error> {
        let key = self.core.keys.session(&session.id);
        let txn = Txn::new()
            .when(Compare::absent(key.clone()))
            .then(Operation::put_leased(
                key.clone(),
                records::encode_session(session),
                session.id.lease(),
            ))
            .otherwise(Operation::get(key));
        let response = self.core.commit(guard, txn).await?;
        match response.found(0) {
            Some(found) if !response.succeeded => Ok(found.create_revision),
            _ if response.succeeded => Ok(response.revision),
            _ => Err(Error::LeaseExpired),
        }
    }

    /// Ends the lease of a session. It would end by itself: nobody is kept waiting for long.
    pub(super) async fn give_back(&self, id: &SessionId, limit: Duration) {
        let revoked = tokio::select! {
            revoked = self.core.store.revoke(id.lease()) => revoked,
            () = self.core.clock.sleep(limit) => {
                tracing::debug!(session = ?id, "the store takes long to end a lease");
                return;
            }
        };
        if let Err(error) = revoked {
            tracing::debug!(session = ?id, %error, "a lease is left to end by itself");
        }
    }
}
