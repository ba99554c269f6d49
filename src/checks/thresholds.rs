//! From outcomes to a verdict: one failure is an accident.

use crate::domain::registry::HealthCheck;

/// The outcomes of a check, as far as they matter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Streak {
    verdict: Option<bool>,
    /// Outcomes in a row that contradict the verdict.
    against: u32,
    /// What the last one was.
    last: bool,
}

// === impl Streak ===

impl Streak {
    /// Begins with a verdict that was found before, if one was.
    pub(super) fn from(verdict: Option<bool>) -> Self {
        Self {
            verdict,
            ..Self::default()
        }
    }

    /// Counts an outcome and gives the verdict after it: whether the check passes, if that is known.
    ///
    /// Where nothing is known yet, one success is enough, unless the instance counts as unhealthy
    /// until then.
    pub(super) fn observe(&mut self, passed: bool, check: &HealthCheck) -> Option<bool> {
        if self.verdict == Some(passed) {
            self.against = 0;
            return self.verdict;
        }
        if self.last != passed {
            self.against = 0;
        }
        self.last = passed;
        self.against += 1;
        let needed = match (passed, self.verdict) {
            (true, None) if !check.starts_unhealthy => 1,
            (true, _) => check.success_threshold,
            (false, _) => check.failure_threshold,
        };
        if self.against >= needed {
            *self = Self::from(Some(passed));
        }
        self.verdict
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::registry::{CheckKind, CheckPort};

    fn check(failures: u32, successes: u32) -> HealthCheck {
        HealthCheck {
            name: "tcp".into(),
            kind: CheckKind::Tcp {
                port: CheckPort::default(),
            },
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(3),
            failure_threshold: failures,
            success_threshold: successes,
            initial_delay: Duration::ZERO,
            starts_unhealthy: false,
        }
    }

    fn verdicts(check: &HealthCheck, outcomes: &str) -> String {
        let mut streak = Streak::default();
        let verdict = |outcome| match streak.observe(outcome == '+', check) {
            None => '?',
            Some(true) => '+',
            Some(false) => '-',
        };
        outcomes.chars().map(verdict).collect()
    }

    #[test]
    fn a_verdict_changes_after_so_many_outcomes_in_a_row() {
        assert_eq!(verdicts(&check(3, 2), "+---++--+---"), "+++--++++++-");
        assert_eq!(verdicts(&check(1, 1), "+-+-"), "+-+-");
        assert_eq!(verdicts(&check(3, 2), "+--+--+--"), "+++++++++");
    }

    #[test]
    fn the_first_success_is_enough_and_the_first_failure_is_not() {
        assert_eq!(verdicts(&check(3, 2), "--+"), "??+");
        assert_eq!(verdicts(&check(3, 2), "---"), "??-");
        let strict = HealthCheck {
            starts_unhealthy: true,
            ..check(3, 2)
        };
        assert_eq!(verdicts(&strict, "+-++"), "???+");
    }

    #[test]
    fn a_verdict_that_was_found_before_is_where_it_begins() {
        let mut streak = Streak::from(Some(false));
        assert_eq!(streak.observe(true, &check(3, 2)), Some(false));
        assert_eq!(streak.observe(true, &check(3, 2)), Some(true));
    }
}
