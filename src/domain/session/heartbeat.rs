//! Keeping sessions alive, one heartbeat at a time.

use std::time::Instant;

use crate::domain::{error::Error, session_id::SessionId};

use super::{
    Sessions,
    renewal::{Alive, Beat},
};

// === impl Sessions ===

impl Sessions {
    /// How long a session surely lives, if its heartbeats come here.
    pub fn surely_alive(&self, session: &SessionId) -> Option<Alive> {
        self.renewals.alive(session)
    }

    /// Notes a heartbeat. One that comes when the renewal of its session is due waits for it, so
    /// that all of them share it; one of a session that is new to this replica always does.
    ///
    /// Errors: [`Error::LeaseExpired`], [`Error::Store`] when the renewal failed.
    pub async fn heartbeat(&self, id: SessionId) -> Result<Alive, Error> {
        if let Some(beat) = self.beat(id, self.core.clock.now()) {
            return beat.outcome().await;
        }
        let (session, _) = self.find(id).await?;
        let session = session.ok_or(Error::LeaseExpired)?;
        let now = self.core.clock.now();
        self.renewals.beat(id, now, &session.ttl).outcome().await
    }

    /// Notes a heartbeat, received at `now`, of a session that this replica shows; `None` if it does
    /// not.
    pub(super) fn beat(&self, id: SessionId, now: Instant) -> Option<Beat> {
        let view = self.core.cache.view().ok()?;
        let session = view.state.sessions.get(&id)?;
        Some(self.renewals.beat(id, now, &session.ttl))
    }
}

// === impl Beat ===

impl Beat {
    /// Waits for the renewal, if one is due.
    pub(super) async fn outcome(self) -> Result<Alive, Error> {
        match self {
            Beat::Alive(alive) => Ok(alive),
            Beat::Wait(flight) => flight.landed().await,
        }
    }
}
