//! Keeping sessions alive, one heartbeat at a time.

use crate::domain::{error::Error, session_id::SessionId};

use super::{
    Sessions,
    renewal::{Alive, Beat},
};

// === impl Sessions ===

impl Sessions {
    /// Notes a heartbeat. One that comes when the renewal of its session is due waits for it, so
    /// that all of them share it; one of a session that is new to this replica always does.
    ///
    /// Errors: [`Error::LeaseExpired`], [`Error::Store`] when the renewal failed.
    pub async fn heartbeat(&self, id: SessionId) -> Result<Alive, Error> {
        if let Some(beat) = self.beat(id) {
            return beat.outcome().await;
        }
        let (session, _) = self.find(id).await?;
        let ttl = session.ok_or(Error::LeaseExpired)?.ttl;
        self.renewals.beat(id, ttl).outcome().await
    }

    /// Notes a heartbeat of a session that this replica shows; `None` if it does not.
    pub(super) fn beat(&self, id: SessionId) -> Option<Beat> {
        let view = self.core.cache.view().ok()?;
        let ttl = view.state.sessions.get(&id)?.ttl;
        Some(self.renewals.beat(id, ttl))
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
