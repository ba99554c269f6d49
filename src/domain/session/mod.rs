//! Sessions: one lease per client process, which carries all that must end with it.
//!
//! A session lives while its key and its lease do. Heartbeats arrive on any replica; the one they
//! arrive at renews the lease (`renewal`). What sessions lose is seen by one task (`dispatch`) and
//! told to the streams that named them (`notices`, `stream`).

mod close;
mod dispatch;
mod heartbeat;
mod list;
mod loss;
mod notices;
mod open;
mod record;
mod renewal;
mod require;
mod stream;
mod unshown;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use self::{notices::Notices, renewal::Renewals, unshown::Unshown};
use super::{
    Core,
    session_id::{SessionId, SessionIds},
    state::Owned,
};

pub(super) use self::open::{Prepared, Unopened};
pub use self::{
    close::Closed,
    list::{Possessions, SessionPage},
    loss::{InstanceLost, LockLost, Loss, Lost, SessionLost},
    open::{OpenSession, Opened},
    record::{Session, SessionPlace},
    renewal::Alive,
    stream::{Answer, HeartbeatStream, Said},
};

/// The sessions of all clients, and the heartbeats that reach this replica. Clones share them; they
/// live while [`Sessions::run`] does.
#[derive(Clone)]
pub struct Sessions {
    core: Arc<Core>,
    ids: Arc<SessionIds>,
    renewals: Arc<Renewals>,
    notices: Arc<Notices>,
    unshown: Arc<Unshown>,
}

// === impl Sessions ===

impl Sessions {
    /// The sessions in the store that `core` is about.
    pub fn new(core: Arc<Core>) -> Self {
        Self {
            renewals: Arc::new(Renewals::new(core.clock.clone())),
            ids: Arc::default(),
            notices: Arc::default(),
            unshown: Arc::default(),
            core,
        }
    }

    /// Renews what heartbeats ask for and tells what sessions lose, until `stop` is cancelled. The
    /// cache has to be ready.
    pub async fn run(self, stop: CancellationToken) {
        let renew = self.renewals.run(self.core.store.as_ref(), stop.clone());
        let (dispatched, ()) = tokio::join!(self.dispatch(stop.clone()), renew);
        if let Err(error) = dispatched {
            tracing::error!(%error, "nobody is told what sessions lose");
        }
    }

    /// Ends every stream of heartbeats with a last word. The sessions live on.
    pub fn drain(&self) {
        self.notices.drain();
    }

    /// Notes that `session` itself is about to give `owned` up, on this replica, so that its
    /// streams are not told of a loss. To be called before the transaction that does it.
    pub fn leaving(&self, session: SessionId, owned: Owned) {
        self.notices.leaving(session, owned, self.core.clock.now());
    }

    /// Takes back that `session` gives `owned` up: it was found to keep it.
    pub fn staying(&self, session: SessionId, owned: Owned) {
        self.notices.staying(session, owned);
    }
}
