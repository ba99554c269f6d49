//! The state machine of a cursor: each step decides on what the others left, and the order of the
//! checks is the contract.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;

use crate::{
    cache::{
        FinalReason, Message, Projection, ResetReason, Run, Selection, Start, Told,
        catchup::{Merged, difference, events, merged},
        parts::cut,
        picture,
        published::{Published, Way},
        topic::{Found, Position},
    },
    planted::{self, Bug},
    store::Revision,
};

use super::{Cursor, Next, Phase, Step};

// === impl Cursor ===

impl<P: Projection, S: Selection<P>> Cursor<P, S> {
    /// What comes next.
    pub(super) fn step(&mut self) -> Next<P, S> {
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
        } else if (self.epoch != published.epoch || self.generation != published.generation)
            && !planted::is(Bug::IgnoreEpochChange)
        {
            return self.reset(ResetReason::EpochChanged, &published, now);
        }
        match &mut self.phase {
            Phase::Begin(_) if self.position.told > published.as_of => {
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
                if self.position.told <= published.as_of {
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
        let part_bytes = self.options.part_bytes;
        let part =
            picture::passage::<P, S>(&state, self.topic.selection(), after.as_ref(), part_bytes);
        let Some(part) = part else {
            return self.snapshot_end(revision, now);
        };
        self.phase = Phase::Snapshot {
            state,
            revision,
            after: Some(part.last),
        };
        let items = part.items;
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
        let part_bytes = self.options.part_bytes;
        let parts = cut(delta.revision, delta.events, delta.conflated, part_bytes);
        let told = self.position.told;
        self.parts
            .extend(parts.iter().map(|part| part.message(told)));
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
    pub(super) fn note(&mut self, message: &Message<S::Item, P::Cause>) {
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
