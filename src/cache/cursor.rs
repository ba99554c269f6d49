//! A subscriber: a position in the shared history, not a queue.
//!
//! Longer than most files, because it is one state machine: each step decides on what the others
//! left, and the order of the checks is the contract.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::store::Revision;

use super::{
    CursorOptions, Error, FinalReason, Message, Projection, ResetReason, Selection, Start, Token,
    catchup::{Merged, difference, events, merged},
    published::{Published, Way},
    shared::{Demand, Shared, Subscribed},
};

/// A running watch.
pub struct Cursor<P: Projection, S: Selection<P>> {
    shared: Arc<Shared<P>>,
    selection: S,
    options: CursorOptions,
    phase: Phase<P>,
    /// The history that `told` and `scanned` belong to.
    epoch: u64,
    generation: u64,
    /// Where the watcher stands: the revision of the last message.
    told: Revision,
    /// Up to where we have looked; nothing after `told` concerned the watcher.
    scanned: Revision,
    /// The rest of a delta in parts.
    parts: VecDeque<Message<S::Item, P::Cause>>,
    /// A bookmark is due even if nothing happened.
    announce: bool,
    last_message: Instant,
    last_delta: Option<Instant>,
    /// When the stream ends by itself.
    ends: Instant,
    /// Why the stream is ending, and what it delivers before it does.
    closing: Option<(FinalReason, Revision)>,
    woken: watch::Receiver<Revision>,
    timer: Option<(Instant, BoxFuture<'static, ()>)>,
    _subscribed: Subscribed<P>,
}

/// What a cursor is about.
enum Phase<P: Projection> {
    /// Nothing was told yet.
    Begin(Start),
    /// The watcher is ahead of this replica, which may still come there.
    Ahead { until: Instant, _demand: Demand<P> },
    /// Tells a state, of which everything up to `after` is told.
    /// Keeps no log alive, however slowly it is read.
    Snapshot {
        state: Arc<P::State>,
        revision: Revision,
        after: Option<Bytes>,
    },
    /// Tells what happens.
    Following,
    /// The final bookmark is out.
    Ended,
}

/// What a cursor can do now.
enum Step<M> {
    Tell(M),
    Wait(Instant),
    End,
}

// === impl Cursor ===

impl<P: Projection, S: Selection<P>> Cursor<P, S> {
    pub(super) fn open(
        shared: Arc<Shared<P>>,
        selection: S,
        start: Start,
        options: CursorOptions,
    ) -> Result<Self, Error> {
        let published = shared.published().ok_or(Error::NotReady)?;
        let (start, epoch, told) = match start {
            Start::Resume(token) if token.digest != selection.digest() => {
                return Err(Error::Token("belongs to another selection"));
            }
            Start::Resume(token) if token.revision > 0 => (start, token.epoch, token.revision),
            Start::After(revision) if revision > 0 => (start, published.epoch, revision),
            // No epoch of ours, so that the first step finds it changed.
            Start::Elsewhere => (Start::After(1), !published.epoch, 1),
            Start::Snapshot | Start::Resume(_) | Start::After(_) => {
                (Start::Snapshot, published.epoch, 0)
            }
        };
        let now = shared.now();
        Ok(Self {
            phase: Phase::Begin(start),
            epoch,
            generation: published.generation,
            told,
            scanned: told,
            parts: VecDeque::new(),
            announce: false,
            last_message: now,
            last_delta: None,
            ends: now + options.max_age,
            closing: None,
            woken: shared.kind(selection.kind()),
            timer: None,
            _subscribed: shared.subscribed(),
            shared,
            selection,
            options,
        })
    }

    /// Waits for the next message; `None` after the final bookmark. Cancel-safe.
    pub async fn next(&mut self) -> Option<Message<S::Item, P::Cause>> {
        // Only waiting is asynchronous, so that a dropped call has changed nothing.
        loop {
            match self.step() {
                Step::Tell(message) => return Some(message),
                Step::End => return None,
                Step::Wait(until) => self.wait(until).await,
            }
        }
    }

    /// The token that resumes after the message last returned: between the parts of a delta the
    /// one before it, between the parts of a snapshot one that begins it again (revision 0).
    pub fn token(&self) -> Token {
        Token {
            epoch: self.epoch,
            digest: self.selection.digest(),
            revision: self.told,
        }
    }

    /// What is being watched.
    pub fn selection(&self) -> &S {
        &self.selection
    }

    async fn wait(&mut self, until: Instant) {
        // An earlier timer does: it only makes us look once too often.
        if self.timer.as_ref().is_none_or(|(at, _)| *at > until) {
            self.timer = Some((until, self.shared.clock.sleep_until(until)));
        }
        let Some((_, timer)) = &mut self.timer else {
            return;
        };
        let arrival = async {
            match &self.phase {
                Phase::Ahead { .. } => {
                    let mut revisions = self.shared.revisions();
                    // The sender is in `shared`, so it cannot be gone.
                    let _ = revisions
                        .wait_for(|reached| *reached >= Some(self.told))
                        .await;
                }
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            // Changes, drains and new histories come this way.
            _ = self.woken.changed() => {}
            () = arrival => {}
            () = timer => self.timer = None,
        }
    }

    fn step(&mut self) -> Step<Message<S::Item, P::Cause>> {
        if let Some(part) = self.parts.pop_front() {
            return self.tell(part);
        }
        if matches!(self.phase, Phase::Ended) {
            return Step::End;
        }
        // In this order, so that what is published after we looked wakes us.
        self.woken.mark_unchanged();
        let Some(published) = self.shared.published() else {
            return Step::Wait(self.ends);
        };
        let now = self.shared.now();
        if self.closing.is_none() {
            if self.shared.is_draining() {
                self.closing = Some((FinalReason::Draining, published.revision));
            } else if now >= self.ends {
                self.closing = Some((FinalReason::MaxAge, published.revision));
            }
        }
        let snapshot_due = matches!(self.phase, Phase::Begin(Start::Snapshot));
        if snapshot_due {
            self.snapshot(&published);
        } else if self.epoch != published.epoch || self.generation != published.generation {
            return self.reset(ResetReason::EpochChanged, &published);
        }
        match &self.phase {
            Phase::Begin(_) if self.told > published.revision => {
                let until = now + self.shared.settings.freshness_wait;
                self.phase = Phase::Ahead {
                    until,
                    _demand: self.shared.demand_progress(),
                };
                Step::Wait(until)
            }
            Phase::Begin(_) => {
                self.resume();
                self.follow(&published, now)
            }
            Phase::Ahead { until, .. } => {
                let until = *until;
                if self.told <= published.revision {
                    self.resume();
                    self.follow(&published, now)
                } else if let Some((last, _)) = self.closing {
                    self.finish(self.told, last)
                } else if now >= until {
                    self.reset(ResetReason::Ahead, &published)
                } else {
                    Step::Wait(until.min(self.ends))
                }
            }
            Phase::Snapshot {
                state,
                revision,
                after,
            } => {
                let (state, revision, after) = (state.clone(), *revision, after.clone());
                self.snapshot_part(state, revision, after)
            }
            Phase::Following => self.follow(&published, now),
            Phase::Ended => Step::End,
        }
    }

    fn resume(&mut self) {
        self.phase = Phase::Following;
        self.announce = true;
    }

    /// Makes the watcher start over.
    fn reset(
        &mut self,
        reason: ResetReason,
        published: &Published<P>,
    ) -> Step<Message<S::Item, P::Cause>> {
        self.shared.counters.resets.add(1);
        self.snapshot(published);
        self.tell(Message::Reset { reason })
    }

    fn snapshot(&mut self, of: &Published<P>) {
        self.epoch = of.epoch;
        self.generation = of.generation;
        self.told = 0;
        self.announce = false;
        // A drain that came before has to deliver this snapshot, and no more.
        if let Some((_, until)) = &mut self.closing {
            *until = of.revision;
        }
        self.phase = Phase::Snapshot {
            state: of.state.clone(),
            revision: of.revision,
            after: None,
        };
    }

    fn snapshot_part(
        &mut self,
        state: Arc<P::State>,
        revision: Revision,
        after: Option<Bytes>,
    ) -> Step<Message<S::Item, P::Cause>> {
        let mut items = Vec::new();
        let mut bytes = 0;
        let mut last = None;
        let mut cut = false;
        for (key, item) in self.selection.list(&state, after.as_ref()) {
            if let Some(shown) = self.selection.select(&item) {
                let weight = P::weight(&item);
                if !items.is_empty() && bytes + weight > self.options.part_bytes {
                    // The rest follows in another part.
                    cut = true;
                    break;
                }
                bytes += weight;
                items.push(shown);
            }
            last = Some(key);
        }
        if items.is_empty() && !cut {
            self.scanned = revision;
            self.phase = Phase::Following;
            return self.tell(Message::SnapshotEnd { revision });
        }
        self.phase = Phase::Snapshot {
            state,
            revision,
            after: last,
        };
        self.tell(Message::Snapshot { items, revision })
    }

    fn follow(
        &mut self,
        published: &Arc<Published<P>>,
        now: Instant,
    ) -> Step<Message<S::Item, P::Cause>> {
        let merging = !self.options.min_interval.is_zero();
        let held = self
            .last_delta
            .map(|last| last + self.options.min_interval)
            .filter(|due| merging && *due > now && self.closing.is_none());
        if held.is_none() && self.is_behind(published) {
            let way = published.way(
                self.selection.kind(),
                self.scanned,
                self.selection.conflates(),
            );
            let delta = match way {
                Way::Replay => {
                    let looked = if merging {
                        self.merge(published)
                    } else {
                        self.replay(published)
                    };
                    match looked {
                        Ok(delta) => delta,
                        Err(Torn) => return self.reset(ResetReason::Behind, published),
                    }
                }
                Way::Difference => match difference(published, &self.selection, self.scanned) {
                    Some(events) => {
                        self.shared.counters.differences.add(1);
                        self.scanned = published.revision;
                        (!events.is_empty()).then_some(Merged {
                            events,
                            revision: published.revision,
                            conflated: true,
                        })
                    }
                    None => return self.reset(ResetReason::Behind, published),
                },
                Way::Lost => return self.reset(ResetReason::Behind, published),
            };
            if let Some(delta) = delta {
                self.last_delta = Some(now);
                self.split(delta);
                if let Some(part) = self.parts.pop_front() {
                    return self.tell(part);
                }
            }
        }
        if let Some((last, _)) = self.closing {
            return self.finish(self.scanned, last);
        }
        let quiet = self.last_message + self.options.bookmark_interval;
        if self.announce || now >= quiet {
            return self.tell(Message::Bookmark {
                revision: self.scanned,
                last: None,
            });
        }
        Step::Wait(held.unwrap_or(quiet).min(quiet).min(self.ends))
    }

    /// Says whether there is something to look at, before the stream may end.
    fn is_behind(&self, published: &Published<P>) -> bool {
        let until = self.closing.map_or(published.revision, |(_, until)| until);
        self.scanned < until
    }

    /// Looks for the next revision that concerns the watcher.
    fn replay(&mut self, published: &Published<P>) -> Result<Option<Delta<P, S>>, Torn> {
        for (revision, entry) in published.logs[self.selection.kind()].after(self.scanned) {
            let events = events(&entry.changes, &self.selection);
            if events.is_empty() {
                continue;
            }
            if entry.conflated && !self.selection.conflates() {
                return Err(Torn);
            }
            self.scanned = revision;
            return Ok(Some(Merged {
                events,
                revision,
                conflated: entry.conflated,
            }));
        }
        self.scanned = published.revision;
        Ok(None)
    }

    /// Merges everything that happened since.
    fn merge(&mut self, published: &Published<P>) -> Result<Option<Delta<P, S>>, Torn> {
        let log = &published.logs[self.selection.kind()];
        let torn = !self.selection.conflates()
            && log.after(self.scanned).any(|(_, entry)| {
                entry.conflated && !events(&entry.changes, &self.selection).is_empty()
            });
        if torn {
            return Err(Torn);
        }
        let delta = merged(published, &self.selection, self.scanned);
        self.scanned = published.revision;
        Ok(delta)
    }

    /// Cuts a delta into parts.
    fn split(&mut self, delta: Delta<P, S>) {
        let prev_revision = self.told;
        let (revision, conflated) = (delta.revision, delta.conflated);
        let part = |events, last_part| Message::Delta {
            prev_revision,
            revision,
            events,
            conflated,
            last_part,
        };
        let mut events = Vec::new();
        let mut bytes = 0;
        for weighed in delta.events {
            if !events.is_empty() && bytes + weighed.weight > self.options.part_bytes {
                self.parts
                    .push_back(part(std::mem::take(&mut events), false));
                bytes = 0;
            }
            bytes += weighed.weight;
            events.push(weighed.event);
        }
        self.parts.push_back(part(events, true));
    }

    fn finish(
        &mut self,
        revision: Revision,
        reason: FinalReason,
    ) -> Step<Message<S::Item, P::Cause>> {
        self.phase = Phase::Ended;
        self.tell(Message::Bookmark {
            revision,
            last: Some(reason),
        })
    }

    fn tell(&mut self, message: Message<S::Item, P::Cause>) -> Step<Message<S::Item, P::Cause>> {
        match &message {
            Message::SnapshotEnd { revision }
            | Message::Bookmark { revision, .. }
            | Message::Delta {
                revision,
                last_part: true,
                ..
            } => self.told = *revision,
            Message::Snapshot { .. } | Message::Delta { .. } | Message::Reset { .. } => {}
        }
        self.announce = false;
        self.last_message = self.shared.now();
        Step::Tell(message)
    }
}

type Delta<P, S> = Merged<<S as Selection<P>>::Item, <P as Projection>::Cause>;

/// Intermediate states are lost that the watcher may not miss.
struct Torn;
