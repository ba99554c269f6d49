//! What a client knows of its session's life.

use std::time::Duration;

use tokio::task::JoinHandle;

use crate::{clock::BootInstant, proto::SessionLostReason};

/// The least margin between what the server promises and what the client relies on.
const MIN_MARGIN: Duration = Duration::from_millis(500);

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The server said that it is gone.
    Lost(SessionLostReason),
    /// This client closed it.
    Closed,
}

/// Until when a session surely lives, and whether it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) valid_until: BootInstant,
    pub(crate) ended: Option<Ended>,
}

/// A background task that ends with its owner.
#[derive(Debug)]
pub(crate) struct AbortOnDrop(JoinHandle<()>);

// === impl Life ===

impl Life {
    pub(crate) fn is_valid(&self) -> bool {
        self.ended.is_none() && !self.valid_until.is_past()
    }

    /// Notes the end, unless there was one; answers whether it changed.
    pub(crate) fn end(&mut self, how: Ended) -> bool {
        let open = self.ended.is_none();
        if open {
            self.ended = Some(how);
        }
        open
    }

    /// Notes an answered heartbeat; answers whether it changed.
    pub(crate) fn extend(&mut self, until: BootInstant) -> bool {
        let longer = until > self.valid_until;
        if longer {
            self.valid_until = until;
        }
        longer
    }
}

/// Until when a session surely lives whose heartbeat was sent at `sent`. The margin covers that
/// clocks run differently fast and that checking takes time.
pub(crate) fn safe_deadline(sent: BootInstant, valid_for: Duration, ttl: Duration) -> BootInstant {
    let margin = (ttl / 10).max(MIN_MARGIN);
    sent + valid_for.saturating_sub(margin)
}

// === impl AbortOnDrop ===

impl AbortOnDrop {
    pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(task))
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_margin_is_a_tenth_of_the_ttl_and_at_least_half_a_second() {
        let sent = BootInstant::now();
        let secs = Duration::from_secs;
        assert_eq!(safe_deadline(sent, secs(60), secs(60)), sent + secs(54));
        assert_eq!(
            safe_deadline(sent, secs(2), secs(2)),
            sent + Duration::from_millis(1500)
        );
        assert_eq!(
            safe_deadline(sent, Duration::from_millis(100), secs(2)),
            sent
        );
    }

    #[test]
    fn an_older_answer_shortens_nothing_and_the_first_end_counts() {
        let now = BootInstant::now();
        let mut life = Life {
            valid_until: now + Duration::from_secs(5),
            ended: None,
        };
        assert!(!life.extend(now + Duration::from_secs(3)));
        assert!(life.extend(now + Duration::from_secs(7)));
        assert!(life.is_valid());
        assert!(life.end(Ended::Closed));
        assert!(!life.end(Ended::Lost(SessionLostReason::Expired)));
        assert_eq!(life.ended, Some(Ended::Closed));
        assert!(!life.is_valid());
    }
}
