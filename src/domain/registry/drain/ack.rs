//! What the subscribers of one replica have acknowledged of a drain.

/// The state of a drain as one replica tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainAck {
    /// The drain.
    pub drain: u64,
    /// How many subscribers were told.
    pub subscribers: u32,
    /// How many of them acknowledged, or do not acknowledge.
    pub done: u32,
    /// Those that have yet to acknowledge, as many as are named.
    pub laggards: Vec<Laggard>,
}

/// A subscriber that has yet to acknowledge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Laggard {
    /// The name of the client; may be empty.
    pub client_id: String,
    /// Where it is connected from.
    pub address: String,
    /// Whether its stream broke.
    pub broken: bool,
    /// Fingerprint of its name; zero: it has none.
    pub subscriber: u64,
}

// === impl DrainAck ===

impl DrainAck {
    /// Says whether nobody is left who has yet to acknowledge.
    pub fn is_complete(&self) -> bool {
        self.done >= self.subscribers
    }
}
