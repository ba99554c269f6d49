//! A call that follows a drain to its end.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{FutureExt, future::BoxFuture, future::join_all};

use crate::{
    domain::{
        error::Error,
        keyspace::InstanceKey,
        names::ReplicaId,
        replica::Replica,
        session_id::SessionId,
        state::{Kind, Owned, View},
    },
    store::Revision,
};

use crate::domain::registry::{
    Drain, DrainAck, DrainRequest, Laggard, RemovalCause, SubscriberInfo,
    drain::{Drains, Running},
};

/// How often a drain is looked at when nothing happens: replicas go without a word.
const TICK: Duration = Duration::from_millis(200);
/// How many subscribers of a service a replica is asked for.
const ASKED: usize = 1000;

/// A call that follows a drain.
pub struct DrainCall {
    drains: Drains,
    key: InstanceKey,
    /// The session on whose behalf it is drained.
    session: Option<SessionId>,
    drain: Drain,
    /// The revision that subscribers have to know.
    at: Revision,
    /// When they are no longer waited for.
    until: Instant,
    reports: HashMap<ReplicaId, Report>,
    /// Those that know by now, though the replica they were at before does not know it.
    moved: HashSet<u64>,
    asking: Option<BoxFuture<'static, HashSet<u64>>>,
    asked: Option<Instant>,
    told: Option<DrainProgress>,
    /// How this call ended it.
    ended: Option<DrainOutcome>,
    /// The revision of the state that was looked at last.
    seen: Revision,
}

/// What a replica reported.
#[derive(Debug, Default)]
struct Report {
    ack: Option<Arc<DrainAck>>,
    /// Since when it is gone.
    gone: Option<Instant>,
}

/// How far a drain is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainProgress {
    /// The drain.
    pub drain: Drain,
    /// How many subscribers there are.
    pub subscribers: u32,
    /// How many of them know.
    pub done: u32,
    /// Those that do not, as many as are named, with the replica of each.
    pub laggards: Vec<(ReplicaId, Laggard)>,
    /// Replicas that have not reported.
    pub silent: Vec<ReplicaId>,
    /// How it ended, and a revision at which the instance is gone.
    pub outcome: Option<(DrainOutcome, Revision)>,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainOutcome {
    /// Everybody knew.
    Acknowledged,
    /// The deadline came first.
    Deadline,
    /// Somebody else removed the instance, or decided otherwise.
    Overtaken,
}

// === impl DrainCall ===

impl DrainCall {
    pub(super) fn new(
        drains: Drains,
        request: DrainRequest,
        drain: Drain,
        at: Revision,
        left: Duration,
    ) -> Self {
        Self {
            until: drains.core.clock.now() + left,
            key: request.key,
            session: request.session,
            drains,
            drain,
            at,
            reports: HashMap::new(),
            moved: HashSet::new(),
            asking: None,
            asked: None,
            told: None,
            ended: None,
            seen: 0,
        }
    }

    /// Waits for news: where the drain is, then whatever changes, with an outcome at last.
    ///
    /// Errors: [`Error::Draining`] when this replica stops; the drain goes on.
    pub async fn next(&mut self) -> Result<DrainProgress, Error> {
        loop {
            let view = self.drains.core.cache.view()?;
            self.seen = view.revision;
            let progress = self.look(&view).await?;
            if self.told.as_ref() != Some(&progress) {
                self.told = Some(progress.clone());
                return Ok(progress);
            }
            self.ask(&view, &progress);
            self.wait().await?;
        }
    }

    async fn wait(&mut self) -> Result<(), Error> {
        let core = self.drains.core.clone();
        let wake = (core.clock.now() + TICK).min(self.until);
        let answered = async {
            match &mut self.asking {
                Some(asking) => asking.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.drains.stopping.cancelled() => return Err(Error::Draining),
            changed = core.cache.changed(Kind::DrainAck as usize, self.seen) => drop(changed?),
            changed = core.cache.changed(Kind::Instance as usize, self.seen) => drop(changed?),
            moved = answered => {
                self.asking = None;
                self.moved.extend(moved);
            }
            () = core.clock.sleep_until(wake) => {}
        }
        Ok(())
    }

    /// Sees how far it is, and ends it if it is over.
    async fn look(&mut self, view: &View) -> Result<DrainProgress, Error> {
        if view.revision < self.at {
            // Our own write is yet to come back.
            return Ok(self.sum());
        }
        let path = self.key.path();
        let running = Running::of(&view.state, path.as_bytes());
        let running = running.filter(|running| running.drain.id == self.drain.id);
        let now = self.drains.core.clock.now();
        let Some(running) = running else {
            let progress = self.sum();
            let outcome = self
                .ended
                .unwrap_or_else(|| self.fate(view, &progress, now));
            return Ok(DrainProgress {
                outcome: Some((outcome, view.revision)),
                ..progress
            });
        };
        self.take_in(view, now);
        let progress = self.sum();
        let outcome = if progress.is_complete() && !self.reports.is_empty() {
            DrainOutcome::Acknowledged
        } else if now >= self.until {
            DrainOutcome::Deadline
        } else {
            return Ok(progress);
        };
        // How it ended is told once the cache shows that it has.
        if self.ended.is_none() && self.end(view, running, &progress).await? {
            self.ended = Some(outcome);
        }
        Ok(progress)
    }

    async fn end(
        &mut self,
        view: &View,
        running: Running,
        progress: &DrainProgress,
    ) -> Result<bool, Error> {
        if let Some(session) = self.session {
            let owned = Owned::Instance(self.key.path().into());
            self.drains.sessions.leaving(session, owned);
        }
        let DrainProgress {
            done, subscribers, ..
        } = progress;
        let detail = format!("{done} of {subscribers} subscribers knew that it was drained");
        self.drains.end(view, running, detail).await
    }

    /// How a drain ended that somebody else ended.
    fn fate(&self, view: &View, progress: &DrainProgress, now: Instant) -> DrainOutcome {
        let tombstone = view.state.tombstones.get(self.key.path().as_bytes());
        let drained = tombstone.is_some_and(|tombstone| {
            tombstone.cause == RemovalCause::Drained
                && tombstone.record.session == self.drain.registration.session
        });
        match (drained, progress.is_complete()) {
            (_, true) if !self.reports.is_empty() => DrainOutcome::Acknowledged,
            // Another call that follows it; before the deadline for one reason alone.
            (true, _) if now < self.until => DrainOutcome::Acknowledged,
            (true, _) => DrainOutcome::Deadline,
            (false, _) => DrainOutcome::Overtaken,
        }
    }

    /// Takes in what the replicas reported.
    fn take_in(&mut self, view: &View, now: Instant) {
        for id in view.state.replicas.keys() {
            self.reports.entry(id.clone()).or_default();
        }
        let keep = self.drains.core.settings.subscriber_keep;
        let path = self.key.path();
        self.reports.retain(|id, report| {
            let ack = view.state.drain_acks.get(format!("{path}/{id}").as_bytes());
            if let Some(ack) = ack.filter(|ack| ack.drain == self.drain.id) {
                report.ack = Some(ack.clone());
            }
            if view.state.replicas.contains_key(id) {
                report.gone = None;
                return true;
            }
            // Whoever watched there has had the time to go on elsewhere.
            now < *report.gone.get_or_insert(now) + keep
        });
    }

    fn sum(&self) -> DrainProgress {
        let mut progress = DrainProgress {
            drain: self.drain,
            subscribers: 0,
            done: 0,
            laggards: Vec::new(),
            silent: Vec::new(),
            outcome: None,
        };
        for (id, report) in &self.reports {
            let Some(ack) = &report.ack else {
                progress.silent.push(id.clone());
                continue;
            };
            progress.subscribers += ack.subscribers;
            progress.done += ack.done;
            for laggard in &ack.laggards {
                if self.moved.contains(&laggard.subscriber) {
                    progress.done += 1;
                    continue;
                }
                let laggard = Laggard {
                    broken: laggard.broken || report.gone.is_some(),
                    ..laggard.clone()
                };
                progress.laggards.push((id.clone(), laggard));
            }
        }
        let order = |(id, laggard): &(ReplicaId, Laggard)| (id.clone(), laggard.address.clone());
        progress.laggards.sort_by_key(order);
        progress.silent.sort();
        progress
    }

    /// Asks where the laggards are by now: a watch may have been resumed elsewhere before the
    /// replica it was at has noticed, or died.
    fn ask(&mut self, view: &View, progress: &DrainProgress) {
        let core = &self.drains.core;
        let now = core.clock.now();
        let due = self
            .asked
            .is_none_or(|asked| now >= asked + core.settings.drain_ask_interval);
        let named: HashSet<u64> = progress
            .laggards
            .iter()
            .map(|(_, laggard)| laggard.subscriber)
            .filter(|subscriber| *subscriber != 0)
            .collect();
        if named.is_empty() || self.asking.is_some() || !due {
            return;
        }
        self.asked = Some(now);
        let replicas: Vec<_> = view.state.replicas.values().cloned().collect();
        let asking = who_knows(self.drains.clone(), self.key.clone(), replicas, self.at);
        let asking = asking.map(move |known| known.intersection(&named).copied().collect());
        self.asking = Some(asking.boxed());
    }
}

/// The subscribers that know, at whichever replica. One that does not answer has nothing to say.
async fn who_knows(
    drains: Drains,
    key: InstanceKey,
    replicas: Vec<Arc<Replica>>,
    at: Revision,
) -> HashSet<u64> {
    let service = key.service_key();
    let ask = |replica: Arc<Replica>| {
        let (drains, service) = (drains.clone(), service.clone());
        async move {
            if replica.id == drains.core.replica {
                return drains.subscribers.list(&service, 0, usize::MAX);
            }
            let mut all = Vec::new();
            loop {
                let after = all.last().map_or(0, |last: &SubscriberInfo| last.number);
                let page = drains.peers.subscribers(&replica, &service, after, ASKED);
                match page.await {
                    Ok(page) => {
                        let last = page.len() < ASKED;
                        all.extend(page);
                        if last {
                            return all;
                        }
                    }
                    Err(error) => {
                        tracing::debug!(%error, replica = %replica.id, "a replica does not answer");
                        return all;
                    }
                }
            }
        }
    };
    let all = join_all(replicas.into_iter().map(ask)).await;
    let all = all.into_iter().flatten();
    all.filter(|subscriber| subscriber.fingerprint != 0 && subscriber.knows(at))
        .map(|subscriber| subscriber.fingerprint)
        .collect()
}

// === impl DrainProgress ===

impl DrainProgress {
    /// Says whether nobody is left who does not know.
    pub fn is_complete(&self) -> bool {
        self.silent.is_empty() && self.done >= self.subscribers
    }
}
