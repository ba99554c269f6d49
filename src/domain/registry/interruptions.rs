//! Reasons to believe that whoever is suspect could not help it: for a while after them nothing is
//! removed.

use std::time::{Duration, Instant};

use crate::domain::Core;

/// What this replica knows of its own and the store's troubles.
#[derive(Debug)]
pub(super) struct Interruptions {
    /// When it last looked at the clock while something was to be removed.
    looked: Instant,
    /// Whether the store is away.
    away: bool,
    /// The leader's term in which it looked.
    term: u64,
    /// Until when nothing is removed.
    hold: Instant,
}

/// What a look comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing happened.
    Clear,
    /// The store is away: nothing can be said.
    Away,
    /// Something did: everything is to be counted anew.
    Interrupted,
}

// === impl Interruptions ===

impl Interruptions {
    /// Those of a replica that has just started, which is one.
    pub(super) fn new(core: &Core) -> Self {
        let now = core.clock.now();
        Self {
            looked: now,
            away: false,
            term: core.store.term(),
            hold: now + core.settings.expiry_hold,
        }
    }

    /// When something that became suspect at `now` may be removed.
    pub(super) fn grace(&self, core: &Core, now: Instant) -> Instant {
        (now + core.settings.suspect_grace).max(self.hold)
    }

    /// When to look at the latest, so that an interruption is noticed.
    pub(super) fn tick(&self, core: &Core, least: Duration) -> Instant {
        self.looked + (core.settings.removal_hold / 3).max(least)
    }

    /// Whether the store was away at the last look.
    pub(super) fn is_away(&self) -> bool {
        self.away
    }

    /// There is nothing to remove, so that nobody looks.
    pub(super) fn rest(&mut self, core: &Core) {
        self.looked = core.clock.now();
        self.away = false;
    }

    /// Looks at `now` whether something happened.
    ///
    /// A new leader gives every lease its whole time anew, but those who were suspect by then may
    /// have had nobody to turn to. How long they need is the same whatever happened: the time to
    /// live that sessions have by default, within which a client that lives is heard of.
    pub(super) fn look(&mut self, core: &Core, now: Instant) -> Look {
        let hold = core.settings.removal_hold;
        let stalled = now.duration_since(self.looked) > hold;
        self.looked = now;
        if core.cache.view().map_or(true, |view| view.age > hold) {
            self.away = true;
            return Look::Away;
        }
        let term = core.store.term();
        if !stalled && !self.away && term == self.term {
            return Look::Clear;
        }
        self.away = false;
        self.term = term;
        self.hold = now + core.settings.expiry_hold;
        Look::Interrupted
    }
}
