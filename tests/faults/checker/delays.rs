//! How long it took until a watcher was told.

use std::time::Duration;

use super::truth::Truth;
use crate::{
    recorder::{Body, Entry, Observation, What},
    witness::History,
};

/// From when the witness heard of a revision until the watcher did, for each delta of one revision,
/// in the order in which they came. Zero where the watcher was first.
pub fn of(history: &History, truth: &Truth, observation: &Observation) -> Vec<Duration> {
    let delay = |entry: &Entry| {
        let What::Told(message) = &entry.what else {
            return None;
        };
        let Body::Delta(delta) = &message.body else {
            return None;
        };
        let part = &history.parts[truth.reign(&message.epoch)?.line];
        let told = part.revisions.get(&delta.revision)?;
        (!delta.conflated && delta.last_part).then(|| entry.at.saturating_duration_since(told.at))
    };
    observation.entries.iter().filter_map(delay).collect()
}
