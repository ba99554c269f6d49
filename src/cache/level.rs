//! Knowing without a word from the watch that the copy is complete: by what a quorum says of the
//! keys ([`Extent`]).
//!
//! The copy is then the store's of that revision, although the watch may have to tell yet what came
//! and went on the way there. Until all of that is in, nothing of it is published, so that the
//! published state never goes back.

use std::time::{Duration, Instant};

use crate::{clock::Clock, store::Extent};

use super::{Projection, sync::Mirror};

/// How long the watch may be silent while the copy is not what the store holds. What is on its way
/// takes milliseconds.
const AUDIT_AFTER: Duration = Duration::from_millis(500);

/// What a quorum says, and whether the copy bears it out.
pub(super) struct Measured {
    extent: Extent,
    /// Since when the copy does not, and nothing came that could change that.
    unexplained: Option<Instant>,
}

// === impl Mirror ===

impl<P: Projection> Mirror<P> {
    /// Takes a quorum's word, given with the generation that it was asked for. Says whether the
    /// state is known to be of a later revision now.
    pub(super) fn measure(&mut self, word: Option<(u64, Extent)>) -> bool {
        let before = self.working.as_of;
        match word {
            Some((generation, extent))
                if generation == self.working.generation && extent.revision > before =>
            {
                let since = self.measured.take().and_then(|known| known.unexplained);
                self.measured = Some(Measured {
                    extent,
                    unexplained: Some(since.unwrap_or_else(|| self.shared.now())),
                });
                self.is_level() && self.working.as_of > before
            }
            _ => false,
        }
    }

    /// Says whether the copy is what the store held at one revision, not on the way between two.
    pub(super) fn is_level(&mut self) -> bool {
        let working = &mut self.working;
        if let Some(measured) = &mut self.measured
            && measured
                .extent
                .is_copied(working.revision, self.known.len())
        {
            measured.unexplained = None;
            working.as_of = working.as_of.max(measured.extent.revision);
            return true;
        }
        working.revision >= working.as_of
    }

    /// The watch broke: it may be silent until it is back.
    pub(super) fn excuse(&mut self) {
        if let Some(measured) = &mut self.measured {
            measured.unexplained = None;
        }
    }

    /// The watch said something at `at`.
    pub(super) fn heard(&mut self, at: Instant) {
        if let Some(measured) = &mut self.measured
            && measured.unexplained.is_some()
        {
            measured.unexplained = Some(at);
        }
    }
}

/// Completes when the watch will not explain any more why the copy is not what the store holds.
pub(super) async fn unexplained(clock: &dyn Clock, measured: &Option<Measured>) {
    match measured.as_ref().and_then(|measured| measured.unexplained) {
        Some(since) => clock.sleep_until(since + AUDIT_AFTER).await,
        None => std::future::pending().await,
    }
}
