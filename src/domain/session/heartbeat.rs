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
        let (session, _) = self.find(id).await?;
        let ttl = session.ok_or(Error::LeaseExpired)?.ttl;
        match self.renewals.beat(id, ttl) {
            Beat::Alive(alive) => Ok(alive),
            Beat::Wait(flight) => flight.landed().await,
        }
    }
}
