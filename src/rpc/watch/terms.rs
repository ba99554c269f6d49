//! How one watch is opened.

use std::time::Duration;

use crate::domain::watch::{Message, Start};

use super::Subscription;

/// How one watch is opened.
pub struct Terms<T> {
    /// Where it begins.
    pub start: Start,
    /// How much is merged.
    pub min_interval: Duration,
    /// Who is told that it is watched, and how far the watcher is.
    pub subscription: Option<Subscription>,
    /// Which messages are to be acknowledged, where messages say so.
    pub asks: Option<Asks<T>>,
}

/// Says whether a message is to be acknowledged.
pub type Asks<T> = fn(&Message<T>) -> bool;

// === impl Terms ===

impl<T> Terms<T> {
    /// The terms of a watch that nobody follows.
    pub fn new(start: Start, min_interval: Duration) -> Self {
        Self {
            start,
            min_interval,
            subscription: None,
            asks: None,
        }
    }
}
