//! Did a watcher see what happened? Compares what it was told with what the store did.
//!
//! Promised, and checked: nothing that does not match; in the order of revisions, each once, across
//! streams and replicas; all of one revision together; no gap, unless a delta says `conflated` or a
//! reset brings a new snapshot; each delta continues the message before it; a bookmark says exactly
//! how far the watcher is; a snapshot is the state at its revision; types, causes and items are
//! right.

pub mod delays;
mod doctored;
mod events;
mod projection;
mod truth;
mod violation;
mod walk;

use std::collections::BTreeMap;

pub use self::{
    truth::Truth,
    violation::{Kind, Violation},
};

use crate::recorder::Observation;

/// What else is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expect {
    /// At the end the watcher knows everything up to this revision of the last part of the
    /// history.
    pub reach: Option<i64>,
    /// What was done and undone between two messages need not be seen: bursts are merged, or the
    /// server itself missed it because the store was compacted.
    pub may_miss_undone: bool,
}

/// What a watcher went through.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    pub messages: usize,
    /// Deltas, whole ones.
    pub deltas: usize,
    pub events: usize,
    /// Those of the deltas that merge revisions.
    pub conflated: usize,
    pub snapshots: usize,
    pub bookmarks: usize,
    /// Streams that were resumed, by a token.
    pub resumes: usize,
    /// Replicas that told something.
    pub replicas: std::collections::BTreeSet<String>,
    /// Resets, by reason.
    pub resets: BTreeMap<&'static str, usize>,
    /// How streams ended, by code.
    pub ends: BTreeMap<String, usize>,
    /// Changes that were undone before anything was told of them.
    pub missed_undone: usize,
    /// The revision it was current through at the end.
    pub through: i64,
}

/// Checks what a watcher saw of a selection against what that showed.
pub fn check(
    truth: &Truth,
    observation: &Observation,
    expect: Expect,
) -> Result<Summary, Vec<Violation>> {
    walk::Walk::new(truth, expect).through(observation)
}
