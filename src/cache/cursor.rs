//! A subscriber: a position in the shared history, not a queue.
//!
//! What it tells next is decided in `step`; here it is opened, and waits.

mod step;

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::{
    planted::{self, Bug},
    store::Revision,
};

use super::{
    CursorOptions, Error, FinalReason, Message, Projection, Run, Selection, Start, Token, Told,
    bell::Seat,
    picture::Picture,
    shared::{Demand, Shared, Subscribed},
    topic::{Position, Topic},
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
    /// When to look again if nothing rings before.
    timer: Option<(Instant, BoxFuture<'static, ()>)>,
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
            Start::Resume(token) if token.revision > 0 => {
                let repeated = Revision::from(planted::is(Bug::ResumeAtRevision));
                (start, token.epoch, token.revision - repeated)
            }
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
            let until = match self.idle_until(rung) {
                Some(until) => until,
                None => match self.step() {
                    Step::Tell(told) => {
                        if matches!(&told, Told::Run(run) if run.is_all) {
                            self.told_all = Some(rung);
                        }
                        return Poll::Ready(Some(told));
                    }
                    Step::End => return Poll::Ready(None),
                    Step::Wait(until) => until,
                },
            };
            self.seat
                .get_or_insert_with(|| self.topic.bell().seat(&self.shared.topics.ringers))
                .wait(context.waker());
            if self.topic.bell().count() == rung && self.poll_time(until, context).is_pending() {
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

    /// Up to where everything that concerns the watcher was told.
    pub fn seen(&self) -> Revision {
        if self.parts.is_empty() && self.rest.is_none() {
            self.position.scanned
        } else {
            self.position.told
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
        let (_, sleep) = match &mut self.timer {
            Some(timer) if timer.0 <= until => timer,
            slot => slot.insert((until, self.shared.clock.sleep_until(until))),
        };
        ready!(sleep.as_mut().poll(context));
        self.timer = None;
        Poll::Ready(())
    }

    /// When to look again, if everything was told a moment ago and nothing rang since.
    fn idle_until(&mut self, rung: u64) -> Option<Instant> {
        let told_all = self.told_all.take() == Some(rung);
        self.timer.as_ref().filter(|_| told_all).map(|(at, _)| *at)
    }
}
