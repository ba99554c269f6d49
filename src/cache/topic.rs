//! What all who watch one selection share: it is looked at, and written for the wire, once.
//!
//! A topic is a derived view of the log, made when the first cursor comes and extended by
//! whichever cursor looks first. A cursor whose next messages others have been told as well gets
//! the same ones, and with them the place where their wire form is kept.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::store::Revision;

use super::{
    Message, Projection, Selection,
    bell::Bell,
    catchup::events,
    parts::{Part, cut},
    picture::{self, Picture},
    published::Published,
    topics::Listed,
    wire_form::WireForm,
};

/// How many bytes of changes are told together, roughly: enough to spare most of what a message
/// costs, and not more than a stalled reader may pin.
const RUN_BYTES: usize = 16 * 1024;
/// How long a run is shared: what it says of the state's age was true when it was made.
const RUN_SHARED_FOR: Duration = Duration::from_millis(50);
/// How many runs are remembered: cursors that stand at different revisions get different ones.
const RUNS: usize = 8;
/// How many parts of deltas a topic remembers before it looks at the log again.
const PARTS: usize = 1024;

/// The topic of one selection.
pub(super) struct Topic<P: Projection, S: Selection<P>> {
    selection: S,
    digest: u64,
    listed: Listed,
    seen: Mutex<Seen<S::Item, P::Cause>>,
}

/// What a topic knows of the history.
struct Seen<T, C> {
    epoch: u64,
    generation: u64,
    /// Whatever concerns the selection after `floor` and up to `scanned` is in `parts`.
    floor: Revision,
    scanned: Revision,
    parts: VecDeque<Part<T, C>>,
    runs: VecDeque<(Place, Arc<Run<T, C>>)>,
    picture: Option<Picture<T>>,
}

/// Where a cursor stands in a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// The revision of the last whole message.
    pub(super) told: Revision,
    /// Up to where was looked; nothing after `told` concerned the watcher.
    pub(super) scanned: Revision,
}

/// What makes two cursors be told the same: what they know, and what comes next.
type Place = (Revision, Revision);

/// What there is after a position.
pub(super) enum Found<T, C> {
    /// This.
    Run(Arc<Run<T, C>>),
    /// Nothing, up to this revision.
    Nothing(Revision),
    /// Something of which intermediate states are lost that the watcher may not miss.
    Torn,
}

/// Deltas that follow each other, told together to all who stand at the same place.
pub struct Run<T, C> {
    /// The deltas, at least one; of a large one a part.
    pub messages: Vec<Message<T, C>>,
    /// What they look like on the wire.
    pub wire: WireForm,
    pub(super) end: Position,
    /// The next part of a large delta: who has begun with one is told all of it, even if the
    /// history is forgotten meanwhile.
    pub(super) rest: Option<Arc<Run<T, C>>>,
    /// Nothing else was known when it was made.
    pub(super) is_all: bool,
    made: Instant,
}

// === impl Position ===

impl Position {
    /// After `revision`.
    pub(super) fn at(revision: Revision) -> Self {
        Self {
            told: revision,
            scanned: revision,
        }
    }
}

// === impl Topic ===

impl<P: Projection, S: Selection<P>> Topic<P, S> {
    pub(super) fn new(selection: S, digest: u64, listed: Listed) -> Self {
        Self {
            selection,
            digest,
            listed,
            seen: Mutex::new(Seen {
                epoch: 0,
                generation: 0,
                floor: 0,
                scanned: 0,
                parts: VecDeque::new(),
                runs: VecDeque::new(),
                picture: None,
            }),
        }
    }

    /// What it is about.
    pub(super) fn selection(&self) -> &S {
        &self.selection
    }

    /// The selection's digest.
    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    /// Rung when something changes that may concern it.
    pub(super) fn bell(&self) -> &Bell {
        &self.listed.bell
    }

    /// What comes after `position`. The caller has made sure that the log reaches back to there.
    pub(super) fn after(
        &self,
        published: &Published<P>,
        position: Position,
        part_bytes: usize,
        now: Instant,
    ) -> Found<S::Item, P::Cause> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.advance(published, &self.selection, part_bytes)
            || !seen.extend_back(published, &self.selection, position.scanned, part_bytes)
        {
            return Found::Nothing(position.scanned);
        }
        let known = |part: &Part<_, _>| part.revision <= position.scanned;
        let first = seen.parts.partition_point(known);
        match seen.parts.get(first) {
            None => Found::Nothing(seen.scanned.max(position.scanned)),
            Some(part) if part.conflated && !self.selection.conflates() => Found::Torn,
            Some(part) => {
                let place = (position.told, part.revision);
                Found::Run(seen.run(place, position, first, now))
            }
        }
    }

    /// The snapshot that `published` shows, if it is worth keeping.
    pub(super) fn picture(
        &self,
        published: &Published<P>,
        part_bytes: usize,
    ) -> Option<Picture<S::Item>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // What is published may be older by now than what others have looked at.
        if !seen.advance(published, &self.selection, part_bytes)
            || seen.scanned > published.revision
        {
            return None;
        }
        if seen.picture.is_none() {
            seen.picture = picture::of::<P, S>(&published.state, &self.selection, part_bytes);
        }
        seen.picture.clone()
    }
}

// === impl Seen ===

impl<T: Clone, C: Copy> Seen<T, C> {
    /// Looks at what is new. Says false if `published` is of a history that is over.
    fn advance<P, S>(&mut self, published: &Published<P>, selection: &S, part_bytes: usize) -> bool
    where
        P: Projection<Cause = C>,
        S: Selection<P, Item = T>,
    {
        let log = &published.logs[selection.kind()];
        let same = (self.generation, self.epoch) == (published.generation, published.epoch);
        if same && published.revision <= self.scanned {
            return true;
        }
        if published.generation < self.generation
            || (!same
                && published.generation == self.generation
                && published.revision < self.scanned)
        {
            return false;
        }
        if !same || self.scanned < log.floor() {
            self.parts.clear();
            self.forget();
            (self.epoch, self.generation) = (published.epoch, published.generation);
            // What came before is looked at when somebody asks for it.
            self.floor = published.revision;
            self.scanned = published.revision;
        }
        let known = self.parts.len();
        for (revision, entry) in log.after(self.scanned) {
            let events = events(&entry.changes, selection);
            self.parts
                .extend(cut(revision, events, entry.conflated, part_bytes));
        }
        self.scanned = published.revision;
        if self.parts.len() > known {
            self.forget();
        }
        let surplus = self.parts.len().saturating_sub(PARTS);
        if let Some(oldest) = self.parts.drain(..surplus).next_back() {
            self.floor = oldest.revision;
        }
        // Nor what the log has forgotten: many topics that seldom change would keep more than it.
        self.floor = self.floor.max(log.floor());
        // No half of a delta stays.
        while let Some(oldest) = self.parts.front()
            && oldest.revision <= self.floor
        {
            self.parts.pop_front();
        }
        true
    }

    /// Looks at what came after `revision`, if that is further back than was looked yet. Says false
    /// if `published` is from before all that is known: what happened in between would be missing.
    fn extend_back<P, S>(
        &mut self,
        published: &Published<P>,
        selection: &S,
        revision: Revision,
        part_bytes: usize,
    ) -> bool
    where
        P: Projection<Cause = C>,
        S: Selection<P, Item = T>,
    {
        if revision >= self.floor {
            return true;
        }
        if published.revision < self.floor {
            return false;
        }
        let log = &published.logs[selection.kind()];
        let mut older: VecDeque<_> = log
            .after(revision)
            .take_while(|(at, _)| *at <= self.floor)
            .flat_map(|(at, entry)| {
                let events = events(&entry.changes, selection);
                cut(at, events, entry.conflated, part_bytes)
            })
            .collect();
        older.append(&mut self.parts);
        self.parts = older;
        self.floor = revision;
        true
    }

    /// What was made of what was known is not all any more.
    fn forget(&mut self) {
        self.runs.clear();
        self.picture = None;
    }

    /// The run that begins with the part at `first`, which is there.
    fn run(
        &mut self,
        place: Place,
        position: Position,
        first: usize,
        now: Instant,
    ) -> Arc<Run<T, C>> {
        self.runs
            .retain(|(_, run)| now.saturating_duration_since(run.made) < RUN_SHARED_FOR);
        if let Some((_, run)) = self.runs.iter().find(|(known, _)| *known == place) {
            return run.clone();
        }
        let run = if self.parts.get(first).is_some_and(|part| part.last) {
            Arc::new(self.deltas(position, first, now))
        } else {
            self.large_delta(position, first, now)
        };
        if self.runs.len() == RUNS {
            self.runs.pop_front();
        }
        self.runs.push_back((place, run.clone()));
        run
    }

    /// Deltas that have one part each, the first of them at `first`.
    fn deltas(&self, position: Position, first: usize, now: Instant) -> Run<T, C> {
        let mut messages = Vec::new();
        let mut end = position;
        let mut bytes = 0;
        for part in self.parts.iter().skip(first) {
            // One after which a watcher may have to start over is told apart.
            let apart = part.conflated || !part.last || bytes + part.weight > RUN_BYTES;
            if apart && !messages.is_empty() {
                break;
            }
            bytes += part.weight;
            messages.push(part.message(end.told));
            end = Position::at(part.revision);
        }
        let is_all = self.parts.len() == first + messages.len();
        if is_all {
            end.scanned = self.scanned;
        }
        Run {
            messages,
            wire: WireForm::default(),
            end,
            rest: None,
            is_all,
            made: now,
        }
    }

    /// The parts of the delta that begins at `first`, each a run of its own.
    fn large_delta(&self, position: Position, first: usize, now: Instant) -> Arc<Run<T, C>> {
        let parts = self.parts.range(first..);
        let last = parts.clone().position(|part| part.last).unwrap_or_default();
        let of = |part: &Part<T, C>, rest| {
            Arc::new(Run {
                messages: vec![part.message(position.told)],
                wire: WireForm::default(),
                end: if part.last {
                    Position::at(part.revision)
                } else {
                    position
                },
                rest,
                is_all: false,
                made: now,
            })
        };
        let end = of(&self.parts[first + last], None);
        let before = parts.take(last).rev();
        before.fold(end, |rest, part| of(part, Some(rest)))
    }
}
