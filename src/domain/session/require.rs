//! What others ask of a session before they hang something on it.

use std::sync::Arc;

use crate::{
    cache::Freshness,
    domain::{error::Error, session_id::SessionId, state::View},
};

use super::{Session, Sessions};

// === impl Sessions ===

impl Sessions {
    /// Finds a live session. One that this replica has not seen yet is looked for with a
    /// linearizable probe before [`Error::LeaseExpired`] is the answer.
    ///
    /// The session may end at any time: a transaction that relies on it compares its key.
    pub async fn require(&self, id: SessionId) -> Result<Arc<Session>, Error> {
        let (session, _) = self.find(id).await?;
        session.ok_or(Error::LeaseExpired)
    }

    /// Refuses what would hang more on the session than it may carry. `keys` is how many are to be
    /// added; what is there is counted in `view`, so that concurrent calls may exceed the bound by
    /// as many as they are.
    pub fn check_room(&self, view: &View, id: &SessionId, keys: usize) -> Result<(), Error> {
        let limit = self.core.settings.max_session_keys;
        let there = view.state.owned.get(id).map_or(0, |owned| owned.len());
        if there + keys > limit {
            return Err(Error::SessionFull { limit });
        }
        Ok(())
    }

    /// The session, and the view in which it is or certainly is not.
    pub(super) async fn find(&self, id: SessionId) -> Result<(Option<Arc<Session>>, View), Error> {
        let view = self.core.cache.view()?;
        if let Some(session) = view.state.sessions.get(&id) {
            return Ok((Some(session.clone()), view));
        }
        let view = self.core.cache.read(Freshness::Linearizable).await?;
        Ok((view.state.sessions.get(&id).cloned(), view))
    }
}
