//! A replica's share in every drain: it reports how many of its subscribers know.
//!
//! A report is one key for each replica and running drain, on the lease of the replica's presence.
//! It is written at once when all know, and no more often than every so often before that.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{
        Core,
        error::Error,
        keyspace::InstanceKey,
        presence::PresenceLease,
        records,
        state::{Kind, View},
    },
    store::{Compare, Operation, Revision, Txn},
};

use crate::domain::registry::{
    DrainAck,
    drain::{Drains, Running},
};

/// How many reports go into one transaction.
const CHUNK: usize = 32;
/// The shortest time between two looks at who knows: with many subscribers a look is work.
const PAUSE: Duration = Duration::from_millis(10);
/// How soon something that failed is looked at again.
const RETRY: Duration = Duration::from_millis(200);

/// The task of one replica.
pub struct DrainDuty {
    core: Arc<Core>,
    drains: Drains,
    lease: PresenceLease,
    tracked: HashMap<Bytes, Tracked>,
}

/// A drain that runs.
struct Tracked {
    id: u64,
    /// The revision that has to be known.
    at: Revision,
    reported: Option<DrainAck>,
    /// When the last report was written, or the drain first seen.
    written: Instant,
}

/// What a look at all drains comes to.
#[derive(Default)]
struct Work {
    reports: Vec<Txn>,
    next: Option<Instant>,
}

// === impl DrainDuty ===

impl DrainDuty {
    /// The task of the replica that `drains` are of, whose presence has `lease`.
    pub fn new(drains: Drains, lease: PresenceLease) -> Self {
        Self {
            core: drains.core.clone(),
            drains,
            lease,
            tracked: HashMap::new(),
        }
    }

    /// Runs until `stop`, or until the cache ends.
    pub async fn run(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(self.follow()).await;
    }

    async fn follow(&mut self) {
        let mut seen = 0;
        loop {
            let next = match self.core.cache.view() {
                Ok(view) => {
                    seen = view.revision;
                    self.turn(&view).await
                }
                Err(_) => Some(self.core.clock.now() + RETRY),
            };
            let busy = !self.tracked.is_empty();
            let clock = self.core.clock.clone();
            let sleep = async {
                match next {
                    Some(next) => clock.sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = self.core.cache.changed(Kind::Instance as usize, seen) => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = self.drains.subscribers.came_on(), if busy => clock.sleep(PAUSE).await,
                () = sleep => {}
            }
        }
    }

    /// Does what there is to do. Answers when to look again at the latest.
    async fn turn(&mut self, view: &View) -> Option<Instant> {
        let state = &view.state;
        if state.drained.is_empty() && state.drain_acks.is_empty() && self.tracked.is_empty() {
            return None;
        }
        self.track(view);
        let work = self.look(view);
        let mut next = work.next;
        if let Err(error) = self.carry_out(work).await {
            tracing::warn!(%error, "what is due of a drain is done later");
            let retry = self.core.clock.now() + RETRY;
            next = Some(next.map_or(retry, |next| next.min(retry)));
        }
        next
    }

    /// Takes in which drains run.
    fn track(&mut self, view: &View) {
        let now = self.core.clock.now();
        self.tracked.retain(|path, tracked| {
            Running::of(&view.state, path).is_some_and(|running| running.drain.id == tracked.id)
        });
        for path in &view.state.drained {
            if let Some(running) = Running::of(&view.state, path) {
                self.tracked.entry(path.clone()).or_insert(Tracked {
                    id: running.drain.id,
                    at: running.operator.mod_revision,
                    reported: None,
                    written: now,
                });
            }
        }
        // Before anybody is looked at, so that no subscriber comes on unnoticed.
        let awaited = !self.tracked.is_empty();
        self.drains.subscribers.await_them(awaited);
    }

    fn look(&mut self, view: &View) -> Work {
        let now = self.core.clock.now();
        let settings = &self.core.settings;
        let mut work = Work::default();
        for (path, tracked) in &mut self.tracked {
            let Some(running) = Running::of(&view.state, path) else {
                continue;
            };
            let key = &running.instance.record.key;
            let ack = self
                .drains
                .subscribers
                .ack(&key.service_key(), tracked.id, tracked.at);
            let known = self.core.keys.drain_ack(key, &self.core.replica);
            let shown = [path.as_ref(), b"/", self.core.replica.as_str().as_bytes()].concat();
            let shown = view.state.drain_acks.get(shown.as_slice());
            if shown.map(Arc::as_ref) != Some(&ack) {
                let fresh = ack.is_complete() && tracked.reported.as_ref() != Some(&ack);
                let due = match fresh {
                    true => now,
                    false => tracked.written + settings.drain_report_interval,
                };
                match self.lease.get() {
                    Some(lease) if due <= now => {
                        tracked.written = now;
                        tracked.reported = Some(ack.clone());
                        let running = Compare::exists(self.core.keys.operator(key));
                        let there = Compare::exists(self.core.keys.instance(key));
                        let value = records::encode_drain_ack(&ack);
                        let put = Operation::put_leased(known, value, lease);
                        let report = Txn::new().when(running).when(there).then(put);
                        work.reports.push(report);
                        work.look_again(now + settings.drain_report_interval);
                    }
                    Some(_) => work.look_again(due),
                    None => work.look_again(now + RETRY),
                }
            }
        }
        // Of drains that are over: whoever ended them knew of this report, or not.
        let own = format!("/{}", self.core.replica);
        for path in view.state.drain_acks.keys() {
            let instance = path.strip_suffix(own.as_bytes());
            let Some(instance) = instance.filter(|path| !self.tracked.contains_key(*path)) else {
                continue;
            };
            if let Some(key) = std::str::from_utf8(instance)
                .ok()
                .and_then(InstanceKey::parse)
            {
                let report = self.core.keys.drain_ack(&key, &self.core.replica);
                let forget = Txn::new().then(Operation::delete(report));
                work.reports.push(forget);
            }
        }
        work
    }

    async fn carry_out(&self, work: Work) -> Result<(), Error> {
        for chunk in work.reports.chunks(CHUNK) {
            let all = chunk.iter().cloned().map(Operation::Txn);
            let txn = all.fold(Txn::new(), Txn::then);
            self.core.commit(None, txn).await?;
        }
        Ok(())
    }
}

// === impl Work ===

impl Work {
    fn look_again(&mut self, at: Instant) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }
}
