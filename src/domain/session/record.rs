//! What a session is.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use crate::{
    domain::{names::Label, session_id::SessionId},
    store::Revision,
};

/// A session as it is stored. It lives while its key and its lease do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The secret.
    pub id: SessionId,
    /// How the client calls itself; may be empty.
    pub client_id: Label,
    /// The granted time to live.
    pub ttl: Duration,
    /// The request that opened it.
    pub request_id: String,
    /// Anything the client says of itself.
    pub metadata: BTreeMap<String, String>,
    /// The identity that opened it.
    pub principal: String,
    /// The replica that opened it.
    pub replica: String,
    /// When it was opened.
    pub open_time: SystemTime,
    /// The format it was written in.
    pub format: u32,
    /// The revision that opened it.
    pub create_revision: Revision,
    /// The revision that last wrote it.
    pub mod_revision: Revision,
}

/// Where a session stands among all of them: the revision that opened it, which others may share,
/// and a number that tells those apart without giving the id away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct SessionPlace(pub Revision, pub u64);

// === impl Session ===

impl Session {
    /// Where it stands among all sessions.
    pub fn place(&self) -> SessionPlace {
        SessionPlace(self.create_revision, self.id.hash())
    }
}
