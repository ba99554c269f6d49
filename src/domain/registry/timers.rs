//! What follows from time: the one task that makes it visible.
//!
//! Nothing that is seen depends on a clock: a report counts until it is taken away, a brake stays
//! released until that is. When its time is over one replica does so, by rank, in a transaction
//! that changes nothing the second time. Each replica goes by its own clock, so that one whose clock
//! is late is only overtaken by the next in rank.

mod timer;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::{
    cache::{Followed, Turn},
    domain::{
        Core,
        error::Error,
        state::{Kind, State},
    },
};

use self::timer::{End, Timer};

use super::removal::{departure::Departure, queue::Queue};

/// What has times to wait for, or ends the wait.
const KINDS: [usize; 4] = [
    Kind::Instance as usize,
    Kind::Settings as usize,
    Kind::Findings as usize,
    Kind::Operator as usize,
];
/// How many transactions are on their way at the same time.
const PARALLEL: usize = 32;
/// How soon one is tried again at the earliest, whatever the settings say.
const RETRY: Duration = Duration::from_millis(100);

/// When the time of day is looked at again at the latest: somebody may have set it.
const LOOK_AGAIN: Duration = Duration::from_secs(600);

/// The task that ends what has had its time.
pub struct Timers {
    core: Arc<Core>,
    /// Each with the time at which it is over.
    queue: Queue<Timer, Instant>,
}

// === impl Timers ===

impl Timers {
    /// The task of the replica that `core` is.
    pub fn new(core: Arc<Core>) -> Self {
        Self {
            core,
            queue: Queue::default(),
        }
    }

    /// Runs until `stop`, or until the cache ends. The cache has to be ready.
    pub async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            followed = self.follow() => if let Err(error) = followed {
                tracing::error!(%error, "what has had its time stays");
            }
        }
    }

    async fn follow(&mut self) -> Result<(), Error> {
        let mut follower = self.core.cache.follow(&KINDS)?;
        self.begin(&self.core.cache.view()?.state);
        loop {
            match follower.next_by(self.queue.next_due()).await {
                Turn::Followed(Followed::Changes { changes, view, .. }) => {
                    for timer in changes.iter().flat_map(Timer::of_change) {
                        self.note(timer, &view.state);
                    }
                }
                Turn::Followed(Followed::Behind(view)) => self.begin(&view.state),
                Turn::Due => self.look().await?,
                Turn::Over => return Ok(()),
            }
        }
    }

    fn begin(&mut self, state: &State) {
        self.queue.clear();
        for timer in Timer::all(state) {
            self.note(timer, state);
        }
    }

    fn note(&mut self, timer: Timer, state: &State) {
        let Some(due) = timer.due(state, &self.core) else {
            self.queue.forget(&timer);
            return;
        };
        let left = due.duration_since(self.core.clock.system_time());
        let due = self.core.clock.now() + left.unwrap_or_default().min(LOOK_AGAIN);
        self.queue.note(timer, due, due);
    }

    /// Ends what is due and this replica's to end.
    async fn look(&mut self) -> Result<(), Error> {
        let (now, today) = (self.core.clock.now(), self.core.clock.system_time());
        let view = self.core.cache.view()?;
        let core = self.core.clone();
        let rank_delay = core.settings.rank_delay;
        let mut departures: Vec<Departure> = Vec::new();
        let mut txns = Vec::new();
        for (timer, since) in self.queue.due(now, PARALLEL) {
            match timer.due(&view.state, &core) {
                // The time of day may have been put back.
                Some(due) if due > today => self.note(timer, &view.state),
                Some(_) => {
                    let due = since + core.turn(&view.state, timer.path());
                    if due > now {
                        self.queue.postpone(&timer, due);
                        continue;
                    }
                    // Until the cache tells that it is over.
                    let again = now + rank_delay.max(RETRY);
                    self.queue.postpone(&timer, again);
                    match timer.end(&view.state, &core, today) {
                        Some(End::Departure(departure)) => departures.push(departure),
                        Some(End::Txn(txn)) => txns.push(core.commit(None, txn)),
                        None => {}
                    }
                }
                None => self.queue.forget(&timer),
            }
        }
        let removed = core.depart(&departures).await.err();
        // Each by itself: one that cannot be carried out stops no other.
        let carried_out = join_all(txns).await;
        let failures = carried_out.into_iter().filter_map(Result::err);
        for error in failures.chain(removed) {
            tracing::warn!(%error, "something that has had its time could not be ended yet");
        }
        Ok(())
    }
}
