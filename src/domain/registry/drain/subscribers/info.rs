//! What others see of a subscriber.

use std::time::SystemTime;

use crate::{domain::registry::InstanceView, store::Revision};

/// How a stream ended, if its watch may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The connection was lost.
    Broken,
    /// We ended it.
    Moving,
}

/// A subscriber as others see it.
#[derive(Debug, Clone)]
pub struct SubscriberInfo {
    /// Grows from one to the next at one replica.
    pub number: u64,
    /// Name of its client.
    pub client_id: String,
    /// Where it is connected from.
    pub address: String,
    /// Fingerprint of its name; zero: it has none.
    pub fingerprint: u64,
    /// Which instances it is shown.
    pub view: InstanceView,
    /// Its filter, as it was given; empty: it has none.
    pub filter: String,
    /// When the stream was opened.
    pub open_time: SystemTime,
    /// How its stream ended; `None`: it is open.
    pub ended: Option<Ended>,
    /// How far it has come.
    pub reached: Reached,
}

/// How far a subscriber has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// Whether it acknowledges.
    pub acknowledges: bool,
    /// It was told everything up to here.
    pub told: Revision,
    /// The last revision it was to acknowledge; zero: none.
    pub requested: Revision,
    /// It acknowledged everything up to here.
    pub acknowledged: Revision,
}

// === impl SubscriberInfo ===

impl SubscriberInfo {
    /// Says whether it knows what happened at `at`. Of one that does not acknowledge, and whose
    /// connection was lost, nobody can say.
    pub fn knows(&self, at: Revision) -> bool {
        let certain = self.ended != Some(Ended::Broken) || self.reached.acknowledges;
        certain && self.reached.includes(at)
    }
}

// === impl Reached ===

impl Reached {
    /// Says whether what happened at `at` was told, and acknowledged where that was to be.
    pub fn includes(&self, at: Revision) -> bool {
        let acknowledged = !self.acknowledges || self.acknowledged >= self.requested.min(at);
        self.told >= at && acknowledged
    }
}
