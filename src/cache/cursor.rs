//! A subscriber: a position in the shared history, not a queue.
//!
//! Longer than most files, because it is one state machine: each step decides on what the others
//! left, and the order of the checks is the contract.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Instant,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::store::Revision;

use super::{
    CursorOptions, Error, FinalReason, Message, Projection, ResetReason, Run, Selection, Start,
    Token, Told,
    bell::Seat,
    catchup::{Merged, difference, events, merged},
    published::{Published, Way},
    shared::{Demand, Shared, Subscribed},
    topic::{Found, Picture, Position, Topic},
};

/// A running watch.
pub struct Cursor<P: Projection, S: Selection<P>> {
    shared: Arc<Shared<P>>,
    topic: Arc<Topic<P, S>>,
    options: CursorOptions,
    phase: Phase<P, S::Item>,
    /// The history that `position` belongs to.
    epoch: u64,
    generation: u64,
    position: Position,
    /// The rest of a delta in parts that is told to this watcher alone.
    parts: VecDeque<Message<S::Item, P::Cause>>,
    /// The rest of a delta in parts that others are told too.
    rest: Option<Arc<Run<S::Item, P::Cause>>>,
    /// A bookmark is due even if nothing happened.
    announce: bool,
    last_message: Instant,
    last_delta: Option<Instant>,
    /// When the stream ends by itself.
    ends: Instant,
    /// Why the stream is ending, and what it delivers before it does.
    closing: Option<(FinalReason, Revision)>,
    /// Where it is heard of that the topic changed; none before it had to wait.
    seat: Option<Seat>,
    /// Everything was told that there was when the bell had been rung so often.
    told_all: Option<u64>,
    timer: Option<Timer>,
    _subscribed: Subscribed<P>,
}

/// What a cursor is about.
enum Phase<P: Projection, T> {
    /// Nothing was told yet.
    Begin(Start),
    /// The watcher is ahead of this replica, which may still come there.
    Ahead {
        until: Instant,
        arrival: BoxFuture<'static, ()>,
        _demand: Demand<P>,
    },
    /// Tells a state that others are told too.
    Picture {
        parts: Picture<T>,
        next: usize,
        revision: Revision,
    },
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

/// When to look again, if nothing rings before.
struct Timer {
    at: Instant,
    sleep: BoxFuture<'static, ()>,
    /// Who it wakes.
    waker: Waker,
}

/// What a cursor can do now.
enum Step<M> {
    Tell(M),
    Wait(Instant),
    End,
}

type Next<P, S> = Step<Told<<S as Selection<P>>::Item, <P as Projection>::Cause>>;

// === impl Cursor ===

impl<P: Projection, S: Selection<P>> Cursor<P, S> {
    pub(super) fn open(
        shared: Arc<Shared<P>>,
        selection: S,
        start: Start,
        options: CursorOptions,
    ) -> Result<Self, Error> {
        let topic = shared.topics.of(selection);
        let published = shared.published().ok_or(Error::NotReady)?;
        let (start, epoch, told) = match start {
            Start::Resume(token) if token.digest != topic.digest() => {
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
            position: Position::at(told),
            parts: VecDeque::new(),
            rest: None,
            announce: false,
            last_message: now,
            last_delta: None,
            ends: now + options.max_age,
            closing: None,
            seat: None,
            told_all: None,
            timer: None,
            _subscribed: shared.subscribed(),
            shared,
            topic,
            options,
        })
    }

    /// Waits for the next message; `None` after the final bookmark. Cancel-safe.
    pub async fn next(&mut self) -> Option<Message<S::Item, P::Cause>> {
        match poll_fn(|context| self.poll_told(context)).await? {
            Told::Alone(message) => Some(message),
            Told::Items { items, revision } => Some(Message::Snapshot {
                items: items.items.clone(),
                revision,
            }),
            Told::Run(run) => {
                self.parts.extend(run.messages.iter().cloned());
                let first = self.parts.pop_front()?;
                if let Message::Delta { prev_revision, .. } = &first {
                    self.position.told = *prev_revision;
                }
                self.note(&first);
                Some(first)
            }
        }
    }

    /// Polls for what the watcher is told next; `None` after the final bookmark.
    pub fn poll_told(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Told<S::Item, P::Cause>>> {
        loop {
            // Before we look, so that what is published after that is not missed.
            let rung = self.topic.bell().count();
            let idle = self.told_all.take() == Some(rung) && self.timer_wakes(context.waker());
            let until = if idle {
                None
            } else {
                match self.step() {
                    Step::Tell(told) => {
                        if matches!(&told, Told::Run(run) if run.is_all) {
                            self.told_all = Some(rung);
                        }
                        return Poll::Ready(Some(told));
                    }
                    Step::End => return Poll::Ready(None),
                    Step::Wait(until) => Some(until),
                }
            };
            self.seat
                .get_or_insert_with(|| self.topic.bell().seat(&self.shared.topics.ringers))
                .wait(context.waker());
            let due = until.is_some_and(|until| self.poll_time(until, context).is_ready());
            if self.topic.bell().count() == rung && !due {
                return Poll::Pending;
            }
        }
    }

    /// The token that resumes after what was last told: between the parts of a delta the one
    /// before it, between the parts of a snapshot one that begins it again (revision 0).
    pub fn token(&self) -> Token {
        Token {
            epoch: self.epoch,
            digest: self.topic.digest(),
            revision: self.position.told,
        }
    }

    /// What is being watched.
    pub fn selection(&self) -> &S {
        self.topic.selection()
    }

    /// When something was told last; when it was opened, before that.
    pub fn last_message(&self) -> Instant {
        self.last_message
    }

    /// Ready when there is another reason to look than a change of the topic.
    fn poll_time(&mut self, until: Instant, context: &mut Context<'_>) -> Poll<()> {
        if let Phase::Ahead { arrival, .. } = &mut self.phase
            && arrival.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(());
        }
        // An earlier timer does: it only makes us look once too often.
        let timer = match &mut self.timer {
            Some(timer) if timer.at <= until => timer,
            slot => slot.insert(Timer {
                at: until,
                sleep: self.shared.clock.sleep_until(until),
                waker: context.waker().clone(),
            }),
        };
        timer.waker.clone_from(context.waker());
        ready!(timer.sleep.as_mut().poll(context));
        self.timer = None;
        Poll::Ready(())
    }

    /// Says whether the timer runs and will wake `waker`.
    fn timer_wakes(&self, waker: &Waker) -> bool {
        let timer = self.timer.as_ref();
        timer.is_some_and(|timer| timer.waker.will_wake(waker))
    }

    fn step(&mut self) -> Next<P, S> {
        if matches!(self.phase, Phase::Ended) {
            return Step::End;
        }
        let now = self.shared.now();
        if let Some(part) = self.parts.pop_front() {
            return self.tell(part, now);
        }
        if let Some(part) = self.rest.take() {
            return self.tell_run(part, now);
        }
        let Some(published) = self.shared.published() else {
            return Step::Wait(self.ends);
        };
        if self.closing.is_none() {
            if self.shared.is_draining() {
                self.closing = Some((FinalReason::Draining, published.revision));
            } else if now >= self.ends {
                self.closing = Some((FinalReason::MaxAge, published.revision));
            }
        }
        if matches!(self.phase, Phase::Begin(Start::Snapshot)) {
            self.snapshot(&published);
        } else if self.epoch != published.epoch || self.generation != published.generation {
            return self.reset(ResetReason::EpochChanged, &published, now);
        }
        match &mut self.phase {
            Phase::Begin(_) if self.position.told > published.revision => {
                let until = now + self.shared.settings.freshness_wait;
                let (told, mut revisions) = (self.position.told, self.shared.revisions());
                self.phase = Phase::Ahead {
                    until,
                    arrival: Box::pin(async move {
                        // The sender is in `shared`, so it cannot be gone.
                        let _ = revisions.wait_for(|reached| *reached >= Some(told)).await;
                    }),
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
                if self.position.told <= published.revision {
                    self.resume();
                    self.follow(&published, now)
                } else if let Some((last, _)) = self.closing {
                    self.finish(self.position.told, last, now)
                } else if now >= until {
                    self.reset(ResetReason::Ahead, &published, now)
                } else {
                    Step::Wait(until.min(self.ends))
                }
            }
            Phase::Picture {
                parts,
                next,
                revision,
            } => {
                let revision = *revision;
                let Some(items) = parts.get(*next).cloned() else {
                    return self.snapshot_end(revision, now);
                };
                *next += 1;
                self.last_message = now;
                Step::Tell(Told::Items { items, revision })
            }
            Phase::Snapshot {
                state,
                revision,
                after,
            } => {
                let (state, revision, after) = (state.clone(), *revision, after.clone());
                self.snapshot_part(state, revision, after, now)
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
    fn reset(&mut self, reason: ResetReason, published: &Published<P>, now: Instant) -> Next<P, S> {
        self.shared.counters.resets.add(1);
        self.snapshot(published);
        self.tell(Message::Reset { reason }, now)
    }

    fn snapshot(&mut self, of: &Published<P>) {
        self.epoch = of.epoch;
        self.generation = of.generation;
        self.position = Position::at(0);
        self.announce = false;
        // A drain that came before has to deliver this snapshot, and no more.
        if let Some((_, until)) = &mut self.closing {
            *until = of.revision;
        }
        let revision = of.revision;
        self.phase = match self.topic.picture(of, self.options.part_bytes) {
            Some(parts) => Phase::Picture {
                parts,
                next: 0,
                revision,
            },
            None => Phase::Snapshot {
                state: of.state.clone(),
                revision,
                after: None,
            },
        };
    }

    fn snapshot_end(&mut self, revision: Revision, now: Instant) -> Next<P, S> {
        self.position.scanned = revision;
        self.phase = Phase::Following;
        self.tell(Message::SnapshotEnd { revision }, now)
    }

    fn snapshot_part(
        &mut self,
        state: Arc<P::State>,
        revision: Revision,
        after: Option<Bytes>,
        now: Instant,
    ) -> Next<P, S> {
        let selection = self.topic.selection();
        let mut items = Vec::new();
        let mut bytes = 0;
        let mut last = None;
        let mut cut = false;
        for (key, item) in selection.list(&state, after.as_ref()) {
            if let Some(shown) = selection.select(&item) {
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
            return self.snapshot_end(revision, now);
        }
        self.phase = Phase::Snapshot {
            state,
            revision,
            after: last,
        };
        self.tell(Message::Snapshot { items, revision }, now)
    }

    fn follow(&mut self, published: &Arc<Published<P>>, now: Instant) -> Next<P, S> {
        let merging = !self.options.min_interval.is_zero();
        let held = self
            .last_delta
            .map(|last| last + self.options.min_interval)
            .filter(|due| merging && *due > now && self.closing.is_none());
        if held.is_none() && self.is_behind(published) {
            let selection = self.topic.selection();
            let scanned = self.position.scanned;
            let behind = match published.way(selection.kind(), scanned, selection.conflates()) {
                Way::Replay if merging => self.merge(published),
                Way::Replay => {
                    let part_bytes = self.options.part_bytes;
                    match self.topic.after(published, self.position, part_bytes, now) {
                        Found::Run(run) => return self.tell_run(run, now),
                        Found::Nothing(scanned) => {
                            self.position.scanned = scanned;
                            Ok(None)
                        }
                        Found::Torn => Err(Torn),
                    }
                }
                Way::Difference => self.difference(published),
                Way::Lost => Err(Torn),
            };
            let Ok(delta) = behind else {
                return self.reset(ResetReason::Behind, published, now);
            };
            if let Some(delta) = delta {
                self.last_delta = Some(now);
                self.split(delta);
                if let Some(part) = self.parts.pop_front() {
                    return self.tell(part, now);
                }
            }
        }
        if let Some((last, _)) = self.closing {
            return self.finish(self.position.scanned, last, now);
        }
        let quiet = self.last_message + self.options.bookmark_interval;
        if self.announce || now >= quiet {
            let bookmark = Message::Bookmark {
                revision: self.position.scanned,
                last: None,
            };
            return self.tell(bookmark, now);
        }
        Step::Wait(held.unwrap_or(quiet).min(quiet).min(self.ends))
    }

    /// Says whether there is something to look at, before the stream may end.
    fn is_behind(&self, published: &Published<P>) -> bool {
        let until = self.closing.map_or(published.revision, |(_, until)| until);
        self.position.scanned < until
    }

    /// Merges everything that happened since.
    fn merge(&mut self, published: &Published<P>) -> Result<Option<Delta<P, S>>, Torn> {
        let selection = self.topic.selection();
        let log = &published.logs[selection.kind()];
        let scanned = self.position.scanned;
        let torn = !selection.conflates()
            && log
                .after(scanned)
                .any(|(_, entry)| entry.conflated && !events(&entry.changes, selection).is_empty());
        if torn {
            return Err(Torn);
        }
        let delta = merged(published, selection, scanned);
        self.position.scanned = published.revision;
        Ok(delta)
    }

    /// Compares then with now, because what happened in between is forgotten.
    fn difference(&mut self, published: &Published<P>) -> Result<Option<Delta<P, S>>, Torn> {
        let selection = self.topic.selection();
        let events = difference(published, selection, self.position.scanned).ok_or(Torn)?;
        self.shared.counters.differences.add(1);
        self.position.scanned = published.revision;
        Ok((!events.is_empty()).then_some(Merged {
            events,
            revision: published.revision,
            conflated: true,
        }))
    }

    /// Cuts a delta into parts.
    fn split(&mut self, delta: Delta<P, S>) {
        let prev_revision = self.position.told;
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

    /// Tells what others are told too.
    fn tell_run(&mut self, run: Arc<Run<S::Item, P::Cause>>, now: Instant) -> Next<P, S> {
        self.position = run.end;
        self.rest.clone_from(&run.rest);
        self.announce = false;
        self.last_message = now;
        Step::Tell(Told::Run(run))
    }

    fn finish(&mut self, revision: Revision, reason: FinalReason, now: Instant) -> Next<P, S> {
        self.phase = Phase::Ended;
        let bookmark = Message::Bookmark {
            revision,
            last: Some(reason),
        };
        self.tell(bookmark, now)
    }

    fn tell(&mut self, message: Message<S::Item, P::Cause>, now: Instant) -> Next<P, S> {
        self.note(&message);
        self.announce = false;
        self.last_message = now;
        Step::Tell(Told::Alone(message))
    }

    /// Notes where the watcher stands after a message.
    fn note(&mut self, message: &Message<S::Item, P::Cause>) {
        match message {
            Message::SnapshotEnd { revision }
            | Message::Bookmark { revision, .. }
            | Message::Delta {
                revision,
                last_part: true,
                ..
            } => self.position.told = *revision,
            Message::Snapshot { .. } | Message::Delta { .. } | Message::Reset { .. } => {}
        }
    }
}

type Delta<P, S> = Merged<<S as Selection<P>>::Item, <P as Projection>::Cause>;

/// Intermediate states are lost that the watcher may not miss.
struct Torn;
