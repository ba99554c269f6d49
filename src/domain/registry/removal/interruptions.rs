//! Reasons to believe that whoever is suspect could not help it: for a while after them nothing is
//! removed.

use std::time::{Duration, Instant};

use crate::domain::{Core, Settings};

/// How soon is looked again at the earliest, whatever the settings say.
const LEAST: Duration = Duration::from_millis(100);

/// What this replica knows of its own and the store's troubles.
#[derive(Debug)]
pub(super) struct Interruptions {
    settings: Settings,
    /// When it last looked at the clock; `None` while nothing is to be removed, and nobody looks.
    looked: Option<Instant>,
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
        Self::begin(core.settings.clone(), core.clock.now(), core.store.term())
    }

    fn begin(settings: Settings, now: Instant, term: u64) -> Self {
        Self {
            looked: None,
            away: false,
            term,
            hold: now + settings.expiry_hold,
            settings,
        }
    }

    /// Until when nothing is removed.
    pub(super) fn until(&self) -> Instant {
        self.hold
    }

    /// When something that became suspect at `now` may be removed.
    pub(super) fn grace(&self, now: Instant) -> Instant {
        (now + self.settings.suspect_grace).max(self.hold)
    }

    /// When to look, if the first removal is due at `due`: often enough to notice an interruption,
    /// and not at all while there is nothing to remove.
    pub(super) fn wake(&mut self, now: Instant, due: Option<Instant>) -> Option<Instant> {
        let Some(due) = due else {
            (self.looked, self.away) = (None, false);
            return None;
        };
        let looked = *self.looked.get_or_insert(now);
        let tick = looked + (self.settings.removal_hold / 3).max(LEAST);
        Some(if self.away { tick } else { due.min(tick) })
    }

    /// Looks whether something happened.
    ///
    /// A new leader gives every lease its whole time anew, but those who were suspect by then may
    /// have had nobody to turn to. How long they need is the same whatever happened: the time to
    /// live that sessions have by default, within which a client that lives is heard of.
    pub(super) fn look(&mut self, core: &Core, now: Instant) -> Look {
        let age = core.cache.view().ok().map(|view| view.age);
        self.judge(now, age, core.store.term())
    }

    /// The state is `age` old, if there is one, and the store's leader leads in `term`.
    fn judge(&mut self, now: Instant, age: Option<Duration>, term: u64) -> Look {
        let hold = self.settings.removal_hold;
        let looked = self.looked.replace(now);
        let stalled = looked.is_some_and(|looked| now.duration_since(looked) > hold);
        if age.is_none_or(|age| age > hold) {
            self.away = true;
            return Look::Away;
        }
        if !stalled && !self.away && term == self.term {
            return Look::Clear;
        }
        self.away = false;
        self.term = term;
        self.hold = now + self.settings.expiry_hold;
        Look::Interrupted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: Option<Duration> = Some(Duration::ZERO);

    /// With the usual settings: noticed after 3 s, held for 15 s.
    fn begun(now: Instant) -> Interruptions {
        Interruptions::begin(Settings::default(), now, 1)
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn nobody_looked_while_there_was_nothing_to_remove_and_that_is_no_stall() {
        let start = Instant::now();
        let mut interruptions = begun(start);
        assert_eq!(interruptions.wake(start, None), None);
        let now = start + seconds(3600);
        let due = interruptions.grace(now);
        assert_eq!(due, now + seconds(15));
        let wake = interruptions.wake(now, Some(due)).unwrap();
        assert_eq!(wake, now + seconds(1));
        assert_eq!(interruptions.judge(wake, FRESH, 1), Look::Clear);
    }

    #[test]
    fn a_stall_an_absence_of_the_store_and_a_new_leader_hold_removals() {
        let now = Instant::now();
        let mut interruptions = begun(now);
        interruptions.wake(now, Some(now));
        let now = now + seconds(4);
        assert_eq!(interruptions.judge(now, FRESH, 1), Look::Interrupted);
        assert_eq!(interruptions.grace(now), now + seconds(15));
        assert_eq!(interruptions.judge(now, Some(seconds(4)), 1), Look::Away);
        assert_eq!(interruptions.judge(now, None, 1), Look::Away);
        assert_eq!(interruptions.judge(now, FRESH, 1), Look::Interrupted);
        assert_eq!(interruptions.judge(now, FRESH, 1), Look::Clear);
        assert_eq!(interruptions.judge(now, FRESH, 2), Look::Interrupted);
    }
}
