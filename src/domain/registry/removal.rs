//! Removal of instances whose session has been gone for the grace.
//!
//! Every replica counts by its own clock, from when its cache showed the loss; the replica whose
//! rank is first for an instance removes it, the next ones only if that one does not. Counting
//! begins anew when this replica starts, stalls, or does not hear of the store for a while: those
//! who could not reach us then deserve their whole grace.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::{
    cache::{Action, CursorOptions, Start},
    domain::{
        Core,
        error::Error,
        replica::rank,
        session_id::SessionId,
        watch::{Cursor, FinalReason, Message},
    },
    store::{Compare, Operation, Txn},
};

use super::{Health, Instance, queue::Queue, selection::Suspects};

/// How many instances one transaction removes: small enough that others get their turn between.
const CHUNK: usize = 32;
/// How soon a removal is tried again at the earliest, whatever the settings say.
const RETRY: Duration = Duration::from_millis(100);
/// The cursor of this task has no client that has to be moved on.
const MAX_AGE: Duration = Duration::from_secs(365 * 86_400);

/// The task that removes what has been suspect for too long.
pub struct Removal {
    core: Arc<Core>,
    queue: Queue<Bytes, Suspect>,
    /// When it last looked at the clock while something was in the queue.
    looked: Instant,
    /// Whether nothing may be removed now.
    held: bool,
}

/// One instance whose session is gone.
#[derive(Debug, Clone, Copy)]
struct Suspect {
    /// The session that is gone.
    session: Option<SessionId>,
    /// When this replica saw that, or last had reason to begin counting anew.
    since: Instant,
}

// === impl Removal ===

impl Removal {
    /// The task of the replica that `core` is.
    pub fn new(core: Arc<Core>) -> Self {
        Self {
            looked: core.clock.now(),
            core,
            queue: Queue::default(),
            held: false,
        }
    }

    /// Runs until `stop`, or until the cache ends.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut start = Start::Snapshot;
        loop {
            let mut cursor = match self.subscribe(start) {
                Ok(cursor) => cursor,
                Err(error) => {
                    tracing::error!(%error, "suspects cannot be followed: nothing will be removed");
                    return;
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                last = self.follow(&mut cursor) => match last {
                    Some(FinalReason::MaxAge) => start = Start::Resume(cursor.token()),
                    Some(FinalReason::Draining) | None => return,
                },
            }
        }
    }

    fn subscribe(&self, start: Start) -> Result<Cursor<Suspects>, Error> {
        let options = CursorOptions {
            max_age: MAX_AGE,
            ..CursorOptions::default()
        };
        Ok(self.core.cache.subscribe(Suspects, start, options)?)
    }

    async fn follow(&mut self, cursor: &mut Cursor<Suspects>) -> Option<FinalReason> {
        let mut last = None;
        loop {
            let wake = self.wake();
            let clock = self.core.clock.clone();
            let sleep = async {
                match wake {
                    Some(wake) => clock.sleep_until(wake).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                message = cursor.next() => match message {
                    Some(Message::Bookmark { last: reason, .. }) => last = reason.or(last),
                    Some(message) => self.take_in(message),
                    None => return last,
                },
                () = sleep => self.look().await,
            }
        }
    }

    /// When to look at the queue: when something is due, and often enough to notice that the store
    /// is away. Not at all while there is nothing in it.
    fn wake(&mut self) -> Option<Instant> {
        let due = self.queue.next_due();
        if due.is_none() {
            self.looked = self.core.clock.now();
            self.held = false;
        }
        due.map(|due| {
            let tick = self.looked + (self.core.settings.removal_hold / 3).max(RETRY);
            if self.held { tick } else { due.min(tick) }
        })
    }

    fn take_in(&mut self, message: Message<Arc<Instance>>) {
        match message {
            Message::Reset { .. } => self.queue.clear(),
            Message::Snapshot { items, .. } => items.iter().for_each(|item| self.note(item)),
            Message::Delta { events, .. } => {
                for event in events {
                    match event.action {
                        Action::Added | Action::Modified => self.note(&event.item),
                        Action::Deleted(_) => {
                            self.queue.forget(&event.item.record.key.path().into());
                        }
                    }
                }
            }
            Message::SnapshotEnd { .. } | Message::Bookmark { .. } => {}
        }
    }

    fn note(&mut self, instance: &Instance) {
        let since = self.core.clock.now();
        let due = since + self.core.settings.suspect_grace;
        let path = instance.record.key.path().into();
        let session = instance.record.session;
        // One that is known keeps its time, unless another session was lost.
        let known = self.queue.get(&path);
        if known.is_none_or(|known| known.session != session) {
            self.queue.note(path, Suspect { session, since }, due);
        }
    }

    async fn look(&mut self) {
        let now = self.core.clock.now();
        let stalled = now.duration_since(self.looked) > self.core.settings.removal_hold;
        self.looked = now;
        let away = match self.core.cache.view() {
            Ok(view) => view.age > self.core.settings.removal_hold,
            Err(_) => true,
        };
        if away {
            self.held = true;
            return;
        }
        if self.held || stalled {
            self.held = false;
            tracing::info!("the grace of suspect instances begins anew after an interruption");
            let due = now + self.core.settings.suspect_grace;
            self.queue.revise(|suspect| {
                suspect.since = now;
                due
            });
        }
        if let Err(error) = self.remove(now).await {
            tracing::warn!(%error, "suspect instances could not be removed yet");
        }
    }

    async fn remove(&mut self, now: Instant) -> Result<(), Error> {
        let view = self.core.cache.view()?;
        let settings = &self.core.settings;
        let mut removals = Vec::new();
        for (path, suspect) in self.queue.due(now, CHUNK) {
            let Some(instance) = view
                .state
                .instances
                .get(&path)
                .filter(|i| i.health == Health::Suspect && i.record.session == suspect.session)
            else {
                // The cursor has yet to tell what became of it.
                self.queue.forget(&path);
                continue;
            };
            let rank = rank(&self.core.replica, view.state.replicas.keys(), &path);
            let turns = u32::try_from(rank).unwrap_or(u32::MAX);
            let due =
                suspect.since + settings.suspect_grace + settings.rank_delay.saturating_mul(turns);
            if due > now {
                self.queue.postpone(&path, due);
                continue;
            }
            // Until the cursor tells that it is gone.
            self.queue
                .postpone(&path, now + settings.rank_delay.max(RETRY));
            removals.extend(self.removal(instance).map(|txn| (path, txn)));
        }
        if removals.is_empty() {
            return Ok(());
        }
        tracing::info!(count = removals.len(), "suspect instances are removed");
        let txn = removals
            .into_iter()
            .fold(Txn::new(), |all, (_, txn)| all.then(Operation::Txn(txn)));
        self.core.commit(None, txn).await?;
        Ok(())
    }

    /// Deletes the record if it is the one that was seen and its session is gone; else nothing.
    fn removal(&self, instance: &Instance) -> Option<Txn> {
        let record = &instance.record;
        let key: Bytes = self.core.keys.instance(&record.key);
        let session = record.session.as_ref()?;
        Some(
            Txn::new()
                .when(Compare::mod_revision(key.clone(), record.mod_revision))
                .when(Compare::absent(self.core.keys.session(session)))
                .then(Operation::delete(key)),
        )
    }
}
