//! Waiting until a latch is open.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::{
    cache::Freshness,
    domain::{barrier::Refusal, error::Error, keyspace::LatchPath, lock::Wait, turnstile::Seat},
    store::Revision,
};

use super::{LatchStands, Latches};

/// How long it may take to be told what the cache shows already.
const HEARING: Duration = Duration::from_secs(1);

// === impl Latches ===

impl Latches {
    /// Waits until a latch is open, from a state on that is so fresh; the revision at which it is
    /// seen to be, or to have been.
    ///
    /// Errors: [`Error::NotFound`], [`Refusal::LatchNotOpen`], [`Refusal::LatchGone`],
    /// [`Error::Draining`].
    pub async fn wait(
        &self,
        path: &LatchPath,
        wait: Wait,
        freshness: Freshness,
    ) -> Result<Revision, Error> {
        let now = self.core.clock.now();
        let deadline = match wait {
            Wait::No => Some(now),
            // Longer than the clock can count is for ever.
            Wait::For(time) => now.checked_add(time),
            Wait::Forever => None,
        };
        // Before the first look, so that nothing is missed after it.
        let mut seat = self.turnstile.seat(&Bytes::from(path.path()));
        let (latch, mut view) = self.get(path, freshness).await?;
        let create_revision = latch.create_revision();
        drop(latch);
        loop {
            let latch = view.state.latch(path);
            let latch = latch.filter(|latch| latch.create_revision() == create_revision);
            let remaining = match latch {
                Some(latch) => latch.remaining(),
                // It went, and may have been open then.
                None if self.was_open(&mut seat, create_revision).await => 0,
                None => {
                    return Err(Error::Refused(Refusal::LatchGone { name: path.path() }));
                }
            };
            if remaining == 0 {
                return Ok(view.revision);
            }
            if deadline.is_some_and(|deadline| deadline <= self.core.clock.now()) {
                return Err(Error::Refused(Refusal::LatchNotOpen {
                    name: path.path(),
                    remaining,
                }));
            }
            // It is not to keep a state of long ago alive.
            drop(view);
            tokio::select! {
                biased;
                () = self.draining.cancelled() => return Err(Error::Draining),
                () = seat.called() => {}
                () = self.until(deadline) => {}
            }
            view = self.core.cache.view()?;
        }
    }

    /// Whether a latch was open when it went, which whoever sits there is told in a moment.
    async fn was_open(&self, seat: &mut Seat<LatchStands>, create_revision: Revision) -> bool {
        let told = async {
            while seat.told().create_revision != create_revision {
                seat.called().await;
            }
            seat.told().open
        };
        tokio::select! {
            open = told => open,
            // It is not known: the replica fell behind, or the history is another one.
            () = self.core.clock.sleep(HEARING) => false,
        }
    }

    async fn until(&self, deadline: Option<Instant>) {
        match deadline {
            Some(deadline) => self.core.clock.sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    }
}
