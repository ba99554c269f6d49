//! Asking the store where it is: one probe for everybody who waits at that moment, one now and
//! then when nobody does, and progress while somebody waits for the watch.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::store::{self, KeyRange, Outcome, RangeRequest, Revision, Store};

use super::{Projection, shared::Shared};

/// How many riders make it worth while to wait for more: fewer come one after the other, and would
/// wait for nobody.
const MANY: usize = 8;

/// How long the prober waits for those who rode last: they come back with their next read once
/// they have their answers, and one probe is then enough for all of them.
const GATHER: Duration = Duration::from_millis(1);

/// The part of the progress interval after which progress is first asked for: what comes by
/// itself usually comes sooner.
const FIRST_ASK: u32 = 10;

/// Sends the probes, one at a time.
pub(super) struct Prober<P: Projection> {
    pub(super) shared: Arc<Shared<P>>,
    pub(super) store: Arc<dyn Store>,
    pub(super) prefix: Bytes,
}

// === impl Prober ===

impl<P: Projection> Prober<P> {
    pub(super) async fn run(self) {
        let clock = &self.shared.clock;
        let rides = &self.shared.rides;
        let idle = self.shared.settings.idle_probe;
        let mut probed = clock.now();
        let mut expected = 0;
        loop {
            let due = self.shared.pulse.confirmed().max(probed) + idle;
            tokio::select! {
                biased;
                () = rides.boarded(1) => {}
                () = self.shared.probe_wanted.notified() => {}
                () = clock.sleep_until(due) => {
                    let ready = self.shared.reached().is_some();
                    if !ready {
                        probed = clock.now();
                    }
                    if !ready || self.shared.pulse.confirmed() + idle > clock.now() {
                        continue;
                    }
                }
            }
            if expected >= MANY {
                tokio::select! {
                    biased;
                    () = rides.boarded(expected) => {}
                    () = clock.sleep(GATHER) => {}
                }
            }
            // Whoever boarded before the probe is sent may ride on it.
            let departed = rides.depart();
            let riders = departed.riders;
            self.shared.counters.probe_waiters.add(riders);
            probed = clock.now();
            let answer = self.probe().await;
            // Those who get their answers now, and those who came meanwhile.
            expected = riders + rides.waiting();
            departed.answer(&answer);
        }
    }

    async fn probe(&self) -> Result<Revision, store::Error> {
        let shared = &self.shared;
        let sent = shared.now();
        let breaks = shared.pulse.breaks();
        let before = shared.published();
        shared.counters.probes.add(1);
        let watched = shared.probe();
        let found = match &watched {
            Some(probe) => probe.current_revision().await,
            // Between two watches any linearizable read tells.
            None => {
                let any = RangeRequest::new(KeyRange::key(self.prefix.clone())).count_only();
                self.store.range(any).await.map(|answer| answer.revision)
            }
        };
        let found = found.inspect_err(|error| {
            shared.counters.probe_failures.add(1);
            tracing::debug!(%error, "the store could not be asked for its revision");
        })?;
        if let Some(before) = before
            && found < before.as_of
        {
            tracing::warn!(
                found,
                seen = before.as_of,
                "the store is before what it has shown: its history is another one"
            );
            let replaced = shared
                .published()
                .is_none_or(|now| now.generation != before.generation);
            if !replaced {
                shared.doubt(before.generation);
            }
        }
        if shared.is_doubted() {
            return Err(store::Error::Unavailable {
                message: "the store's history is another one, it is being read anew".into(),
                outcome: Outcome::NotDone,
            });
        }
        shared
            .pulse
            .probed(found, sent, breaks, || shared.reached().unwrap_or_default());
        if let Some(watched) = watched
            && shared.reached() < Some(found)
        {
            // What is missing may be a revision outside the prefix, of which no event tells.
            shared.ask_for_progress(watched.as_ref()).await;
        }
        Ok(found)
    }
}

/// Asks for progress again and again while somebody waits: an answer may be lost.
pub(super) async fn ask_for_progress<P: Projection>(shared: Arc<Shared<P>>) {
    let interval = shared.settings.progress_interval;
    let mut demand = shared.demand();
    while demand.wait_for(|waiting| *waiting > 0).await.is_ok() {
        shared.clock.sleep(interval / FIRST_ASK).await;
        while *demand.borrow() > 0 {
            if let Some(probe) = shared.probe() {
                shared.ask_for_progress(probe.as_ref()).await;
            }
            shared.clock.sleep(interval).await;
        }
    }
}
