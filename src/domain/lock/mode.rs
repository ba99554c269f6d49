//! How a lock is claimed, and which claims hold it together.
//!
//! Whoever comes first holds the lock. Who comes later holds it too as long as everybody before does
//! and the claims go together: readers with readers, permits with permits of the same total while
//! there are enough. Nobody holds it past one who waits, so that neither a writer among readers nor
//! a heavy claim among light ones starves. Nobody ever steps in before a claim, so one that holds
//! goes on holding until it goes.

/// How a lock is claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LockMode {
    /// The lock for itself. Modes of the future count as this one.
    #[default]
    Exclusive,
    /// Together with others that share it.
    Shared,
    /// Some of its permits.
    Permits(Permits),
}

/// Some of the permits of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permits {
    count: u32,
    total: u32,
}

/// What those who hold a lock leave to whoever comes next.
#[derive(Debug, Clone, Copy, Default)]
pub struct Admission {
    /// How the last one who was let in holds it.
    last: Option<LockMode>,
    /// How many permits are taken.
    taken: u32,
    /// Somebody waits, so that nobody behind is let in.
    shut: bool,
}

// === impl LockMode ===

impl LockMode {
    /// The permits it claims, if it is about permits.
    pub fn permits(self) -> Option<Permits> {
        match self {
            Self::Permits(permits) => Some(permits),
            Self::Exclusive | Self::Shared => None,
        }
    }
}

// === impl Permits ===

impl Permits {
    /// The most permits a lock may have.
    pub const MAX: u32 = 1_000_000;

    /// So many out of so many; `None` if there cannot be.
    pub fn new(count: u32, total: u32) -> Option<Self> {
        (1 <= count && count <= total && total <= Self::MAX).then_some(Self { count, total })
    }

    /// How many it claims.
    pub fn count(self) -> u32 {
        self.count
    }

    /// How many the lock has.
    pub fn total(self) -> u32 {
        self.total
    }
}

// === impl Admission ===

impl Admission {
    /// Lets the next in the queue in, or shuts the lock for all behind; `true` if it is let in.
    pub fn admits(&mut self, mode: LockMode) -> bool {
        let fits = match (self.last, mode) {
            (None, _) | (Some(LockMode::Shared), LockMode::Shared) => true,
            (Some(LockMode::Permits(last)), LockMode::Permits(next)) => {
                last.total == next.total && self.taken + next.count <= next.total
            }
            _ => false,
        };
        if self.shut || !fits {
            self.shut = true;
            return false;
        }
        self.taken += mode.permits().map_or(0, Permits::count);
        self.last = Some(mode);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const E: LockMode = LockMode::Exclusive;
    const S: LockMode = LockMode::Shared;

    fn p(count: u32, total: u32) -> LockMode {
        LockMode::Permits(Permits::new(count, total).unwrap())
    }

    /// How many of a queue hold the lock.
    fn let_in(queue: &[LockMode]) -> usize {
        let mut admission = Admission::default();
        let held: Vec<_> = queue.iter().map(|mode| admission.admits(*mode)).collect();
        assert!(held.is_sorted_by(|a, b| a >= b), "one held past a waiter");
        held.into_iter().filter(|held| *held).count()
    }

    #[test]
    fn readers_hold_together_and_never_past_a_writer() {
        assert_eq!(let_in(&[E, S, S]), 1);
        assert_eq!(let_in(&[S, S, S]), 3);
        assert_eq!(let_in(&[S, S, E, S]), 2);
    }

    #[test]
    fn permits_are_given_in_order_as_long_as_there_are_enough() {
        assert_eq!(let_in(&[p(1, 3), p(1, 3), p(1, 3), p(1, 3)]), 3);
        assert_eq!(let_in(&[p(2, 3), p(2, 3), p(1, 3)]), 1);
        assert_eq!(let_in(&[p(3, 3), p(1, 3)]), 1);
    }

    #[test]
    fn claims_that_do_not_go_together_exclude_each_other() {
        assert_eq!(let_in(&[p(1, 3), p(1, 4)]), 1);
        assert_eq!(let_in(&[S, p(1, 4), S]), 1);
        assert_eq!(let_in(&[p(1, 4), E]), 1);
    }

    #[test]
    fn there_are_no_permits_that_a_lock_cannot_have() {
        for (count, total) in [(0, 1), (2, 1), (0, 0), (1, Permits::MAX + 1)] {
            assert_eq!(Permits::new(count, total), None);
        }
    }
}
