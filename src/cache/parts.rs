//! Deltas, cut into parts that a message can hold.

use crate::store::Revision;

use super::{Event, Message, catchup::Weighed};

/// A delta, or a part of one.
pub(super) struct Part<T, C> {
    pub(super) revision: Revision,
    pub(super) events: Vec<Event<T, C>>,
    /// Roughly how many bytes it takes on the wire.
    pub(super) weight: usize,
    pub(super) conflated: bool,
    /// No other part follows.
    pub(super) last: bool,
}

/// Cuts what brings a watcher to `revision` into parts of about `part_bytes`; none if there are no
/// events.
pub(super) fn cut<T, C>(
    revision: Revision,
    events: Vec<Weighed<T, C>>,
    conflated: bool,
    part_bytes: usize,
) -> Vec<Part<T, C>> {
    let mut parts: Vec<Part<T, C>> = Vec::new();
    for Weighed { event, weight } in events {
        match parts.last_mut() {
            Some(part) if part.weight + weight <= part_bytes => {
                part.events.push(event);
                part.weight += weight;
            }
            _ => parts.push(Part {
                revision,
                events: vec![event],
                weight,
                conflated,
                last: false,
            }),
        }
    }
    if let Some(part) = parts.last_mut() {
        part.last = true;
    }
    parts
}

// === impl Part ===

impl<T: Clone, C: Copy> Part<T, C> {
    /// What a watcher that stood at `prev_revision` is told.
    pub(super) fn message(&self, prev_revision: Revision) -> Message<T, C> {
        Message::Delta {
            prev_revision,
            revision: self.revision,
            events: self.events.clone(),
            conflated: self.conflated,
            last_part: self.last,
        }
    }
}
