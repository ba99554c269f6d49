//! Since when the published state is known to be current.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::store::Revision;

/// When the store last confirmed what is published.
///
/// A probe confirms it once the probed revision is reached. An item of the watch does too, but
/// only while the watch is known to be up to date: after a break it may deliver old items.
pub(super) struct Pulse {
    start: Instant,
    /// Nanoseconds after `start`.
    confirmed: AtomicU64,
    watch: Mutex<WatchState>,
}

#[derive(Default)]
struct WatchState {
    current: bool,
    breaks: u64,
    claim: Option<Claim>,
}

/// A probe's answer that is not reached yet.
struct Claim {
    revision: Revision,
    sent: Instant,
    breaks: u64,
}

// === impl Pulse ===

impl Pulse {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            start: now,
            confirmed: AtomicU64::new(0),
            watch: Mutex::default(),
        }
    }

    /// When the published state was last confirmed.
    pub(super) fn confirmed(&self) -> Instant {
        self.start + Duration::from_nanos(self.confirmed.load(Ordering::Acquire))
    }

    /// How often the watch broke: to be told to [`Pulse::probed`].
    pub(super) fn breaks(&self) -> u64 {
        self.watch().breaks
    }

    /// The first listing, asked for at `sent`, is whole.
    pub(super) fn ready(&self, sent: Instant) {
        self.watch().current = true;
        self.confirm(sent);
    }

    /// The watch broke.
    pub(super) fn broken(&self) {
        let mut watch = self.watch();
        watch.current = false;
        watch.breaks += 1;
    }

    /// The watch delivered something at `at`, and `revision` is published.
    pub(super) fn item(&self, revision: Revision, at: Instant) {
        let mut watch = self.watch();
        if watch.current {
            self.confirm(at);
        }
        self.redeem(&mut watch, revision);
    }

    /// `revision` is published, though no item of the watch said so.
    pub(super) fn reached(&self, revision: Revision) {
        self.redeem(&mut self.watch(), revision);
    }

    fn redeem(&self, watch: &mut WatchState, revision: Revision) {
        if let Some(claim) = watch.claim.take_if(|claim| claim.revision <= revision) {
            self.confirm(claim.sent);
            watch.current |= claim.breaks == watch.breaks;
        }
    }

    /// A probe sent at `sent`, when the watch had broken `breaks` times, found `revision`.
    /// `published` is asked for what is published now.
    pub(super) fn probed(
        &self,
        revision: Revision,
        sent: Instant,
        breaks: u64,
        published: impl FnOnce() -> Revision,
    ) {
        let mut watch = self.watch();
        if published() >= revision {
            self.confirm(sent);
            watch.current |= breaks == watch.breaks;
        } else if watch
            .claim
            .as_ref()
            .is_none_or(|claim| claim.breaks != watch.breaks)
        {
            // An older claim is nearer: under steady lag the newest would never be reached.
            watch.claim = Some(Claim {
                revision,
                sent,
                breaks,
            });
        }
    }

    /// The history is another one: no older answer counts.
    pub(super) fn replaced(&self, sent: Instant) {
        let mut watch = self.watch();
        watch.claim = None;
        watch.current = true;
        self.confirm(sent);
    }

    fn confirm(&self, at: Instant) {
        let nanos = at.saturating_duration_since(self.start).as_nanos();
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        self.confirmed.fetch_max(nanos, Ordering::AcqRel);
    }

    fn watch(&self) -> MutexGuard<'_, WatchState> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_break_only_a_probe_sent_since_makes_items_count_again() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let pulse = Pulse::new(start);
        pulse.ready(at(1));
        pulse.item(5, at(2));
        assert_eq!(pulse.confirmed(), at(2));

        let before = pulse.breaks();
        pulse.broken();
        pulse.item(6, at(3));
        assert_eq!(pulse.confirmed(), at(2), "an item after a break may be old");
        pulse.probed(6, at(3), before, || 6);
        assert_eq!(pulse.confirmed(), at(3));
        pulse.item(7, at(4));
        assert_eq!(
            pulse.confirmed(),
            at(3),
            "the probe was older than the break"
        );

        pulse.probed(9, at(5), pulse.breaks(), || 7);
        pulse.item(8, at(6));
        assert_eq!(pulse.confirmed(), at(3));
        pulse.item(9, at(7));
        assert_eq!(pulse.confirmed(), at(5));
        pulse.item(10, at(8));
        assert_eq!(pulse.confirmed(), at(8));
    }
}
