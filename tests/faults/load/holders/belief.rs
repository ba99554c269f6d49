//! Until when a client believes to hold what it was granted.

use std::time::Duration;

use stanchion_client::Session;

use super::Holder;
use crate::{
    load::sessions::TTL,
    lock_history::{Event, Micros},
};

/// What has to be subtracted from what a server promises, as the API says: max(TTL/10, 500 ms).
const MARGIN: Duration = Duration::from_millis(500);

/// A client believes to hold a lock.
pub(super) struct Belief {
    token: i64,
    from: Micros,
    /// Until when its session surely lives, as far as it knows.
    until: Micros,
}

// === impl Belief ===

impl Belief {
    /// From now on, because it was just told so.
    pub(super) fn begin(holder: &Holder, session: &Session, token: i64) -> Self {
        let now = holder.told.now();
        let mut belief = Self {
            token,
            from: now,
            until: now,
        };
        let left = u64::try_from(session.valid_for().as_micros()).unwrap();
        belief.until += left;
        belief
    }

    /// The call that was made at `sent` was told that the session surely lives so long.
    pub(super) fn promised(&mut self, sent: Micros, valid_for: Micros) {
        assert!(TTL <= 10 * MARGIN);
        let margin = u64::try_from(MARGIN.as_micros()).unwrap();
        self.until = self.until.max(sent + valid_for.saturating_sub(margin));
    }

    /// Looks how long the session lives, as its heartbeats say. Once that time is over it counts no
    /// more that it lives after all: the claim may be gone.
    pub(super) fn renew(&mut self, holder: &Holder, session: &Session) {
        let now = holder.told.now();
        let left = u64::try_from(session.valid_for().as_micros()).unwrap();
        if left > 0 && now <= self.until {
            self.until = self.until.max(now + left);
        }
    }

    /// Ends it: the client lets go, or hears that it is over.
    pub(super) fn end(mut self, holder: &Holder, session: &Session) {
        self.renew(holder, session);
        holder.told.tell(Event::Believed {
            client: holder.number,
            lock: holder.lock.clone(),
            token: self.token,
            from: self.from,
            to: holder.told.now().min(self.until),
        });
    }
}
