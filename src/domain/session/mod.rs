//! Sessions: one lease per client process, which carries all that must end with it.

mod require;
mod session;

use std::sync::Arc;

use super::Core;

pub use self::session::Session;

/// The sessions of all clients, and the heartbeats that reach this replica.
#[derive(Clone)]
pub struct Sessions {
    core: Arc<Core>,
}

// === impl Sessions ===

impl Sessions {
    /// The sessions in the store that `core` is about.
    pub fn new(core: Arc<Core>) -> Self {
        Self { core }
    }
}
