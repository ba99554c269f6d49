//! Looking at sessions.

use std::{ops::Bound, sync::Arc};

use crate::{
    cache::Freshness,
    domain::{
        error::Error,
        hash64,
        keyspace::QueueKind,
        names::Label,
        session_id::SessionId,
        state::{Owned, View},
    },
};

use super::{Session, SessionPlace, Sessions};

/// A page of sessions.
#[derive(Debug, Clone)]
pub struct SessionPage {
    /// The sessions, in the order in which they were opened.
    pub sessions: Vec<Arc<Session>>,
    /// Where the next page begins: after the session at this place. `None`: this is the last one.
    pub next: Option<SessionPlace>,
}

/// How much hangs on a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Possessions {
    /// Instances that name it.
    pub instances: usize,
    /// Locks it holds or waits for.
    pub locks: usize,
    /// Elections it leads or is a candidate in.
    pub elections: usize,
    /// Places at barriers.
    pub barriers: usize,
}

// === impl Sessions ===

impl Sessions {
    /// Reads a session. That it is not there is only believed after a linearizable probe.
    ///
    /// Errors: [`Error::LeaseExpired`].
    pub async fn get(
        &self,
        id: SessionId,
        freshness: Freshness,
    ) -> Result<(Arc<Session>, View), Error> {
        let mut view = self.core.read(freshness).await?;
        if !view.state.sessions.contains_key(&id) && freshness != Freshness::Linearizable {
            view = self.core.cache.read(Freshness::Linearizable).await?;
        }
        let session = view.state.sessions.get(&id).cloned();
        Ok((session.ok_or(Error::LeaseExpired)?, view))
    }

    /// Binds page tokens to the list that they were made by.
    pub fn list_digest(client_id: &Label) -> u64 {
        hash64(format!("sessions/{client_id}"))
    }

    /// Lists live sessions, at most `size`, after the one at the place `after`; only those of
    /// `client_id`, unless that is empty.
    pub async fn list(
        &self,
        client_id: &Label,
        after: SessionPlace,
        size: usize,
        freshness: Freshness,
    ) -> Result<(SessionPage, View), Error> {
        let view = self.core.read(freshness).await?;
        let mut sessions = Vec::new();
        let mut next = None;
        let rest = (Bound::Excluded(after), Bound::Unbounded);
        for (_, id) in view.state.sessions_in_order.range(rest) {
            let Some(session) = view.state.sessions.get(id) else {
                continue;
            };
            if !client_id.is_empty() && session.client_id != *client_id {
                continue;
            }
            if sessions.len() == size {
                next = sessions.last().map(|last: &Arc<Session>| last.place());
                break;
            }
            sessions.push(session.clone());
        }
        Ok((SessionPage { sessions, next }, view))
    }
}

// === impl Possessions ===

impl Possessions {
    /// What hangs on the session in `view`.
    pub fn of(id: &SessionId, view: &View) -> Self {
        let mut possessions = Self::default();
        for owned in view.state.owned.get(id).into_iter().flatten() {
            match owned {
                Owned::Instance(_) => possessions.instances += 1,
                Owned::Participant(..) => possessions.barriers += 1,
                Owned::Waiter(queue, _) => match queue.kind {
                    QueueKind::Lock => possessions.locks += 1,
                    QueueKind::Election => possessions.elections += 1,
                },
            }
        }
        possessions
    }
}
