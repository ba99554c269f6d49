//! Goes through what a watcher saw, message by message, and knows at each what it must know.

mod begin;

use std::collections::BTreeMap;

use self::begin::Stream;
use super::{
    Expect, Kind, Summary, Violation, events,
    truth::{Line, Reign, Truth},
};
use crate::{
    recorder::{Body, Delta, Message, Observation, What},
    view::Look,
};

/// More say nothing new.
const MAX_VIOLATIONS: usize = 50;

/// Where the check stands.
pub(super) struct Walk<'a> {
    truth: &'a Truth,
    expect: Expect,
    summary: Summary,
    violations: Vec<Violation>,
    /// Index of the entry at hand.
    entry: usize,
    stream: Stream,
    /// What the watcher knows; `None` before its first snapshot and after a reset.
    place: Option<Place>,
    /// The parts of a delta that is not whole yet.
    parts: Option<Delta>,
}

/// What a watcher knows: the state at a revision of an epoch.
struct Place {
    epoch: String,
    reign: Reign,
    revision: i64,
    known: BTreeMap<String, Look>,
}

// === impl Walk ===

impl<'a> Walk<'a> {
    pub(super) fn new(truth: &'a Truth, expect: Expect) -> Self {
        Self {
            truth,
            expect,
            summary: Summary::default(),
            violations: Vec::new(),
            entry: 0,
            stream: Stream::Closed,
            place: None,
            parts: None,
        }
    }

    pub(super) fn through(mut self, observation: &Observation) -> Result<Summary, Vec<Violation>> {
        for (number, entry) in observation.entries.iter().enumerate() {
            if self.violations.len() >= MAX_VIOLATIONS {
                break;
            }
            self.entry = number;
            match &entry.what {
                What::Opened { after, .. } => self.opened(*after),
                What::Told(message) => self.told(message),
                What::Ended { code, .. } => {
                    *self.summary.ends.entry(format!("{code:?}")).or_default() += 1;
                    // What is not whole is told again.
                    self.parts = None;
                    self.stream = Stream::Closed;
                }
            }
        }
        self.end();
        if self.violations.is_empty() {
            Ok(self.summary)
        } else {
            Err(self.violations)
        }
    }

    fn opened(&mut self, after: Option<i64>) {
        let known = self.place.as_ref().map(|place| place.revision);
        if after.is_some() {
            self.summary.resumes += 1;
            if after != known {
                let says = format!("it resumed after {after:?} and knew {known:?}");
                self.violate(Kind::Shape, after.unwrap_or(0), None, says);
            }
            self.stream = Stream::Follows;
        } else {
            self.place = None;
            self.stream = Stream::Begins(None);
        }
    }

    fn told(&mut self, message: &Message) {
        self.summary.messages += 1;
        self.summary.replicas.insert(message.replica.clone());
        if let Body::Reset(reason) = &message.body {
            return self.reset(*reason, message);
        }
        if message.resumable != message.body.through().is_some() {
            let says = "a token where none belongs, or none where one does".to_owned();
            self.violate(Kind::Shape, message.body.through().unwrap_or(0), None, says);
        }
        if self.parts.is_some() && !matches!(message.body, Body::Delta(_)) {
            self.shape("something came between the parts of a delta");
            self.parts = None;
        }
        match &message.body {
            Body::Snapshot(items) => self.snapshot(items),
            Body::SnapshotEnd(revision) => self.snapshot_end(*revision, &message.epoch),
            Body::Delta(delta) => {
                if self.follows(&message.epoch) {
                    self.part(delta);
                }
            }
            Body::Bookmark { revision, .. } => {
                self.summary.bookmarks += 1;
                if self.follows(&message.epoch) {
                    self.bookmark(*revision);
                }
            }
            Body::Reset(_) => {}
        }
    }

    /// Says whether the stream can tell what happens, in the epoch that it is in.
    fn follows(&mut self, epoch: &str) -> bool {
        if !matches!(self.stream, Stream::Follows) {
            self.shape("it goes on where a snapshot was due");
            return false;
        }
        // Without a place, what is wrong was said before.
        let Some(place) = &self.place else {
            return false;
        };
        if place.epoch != epoch {
            let says = format!("epoch {epoch} follows {} without a reset", place.epoch);
            let revision = place.revision;
            self.violate(Kind::Epoch, revision, None, says);
            return false;
        }
        true
    }

    /// Takes a part of a delta, and the delta once it is whole.
    fn part(&mut self, part: &Delta) {
        let mut whole = match self.parts.take() {
            None => part.clone(),
            Some(mut before) => {
                let same = |delta: &Delta| (delta.prev_revision, delta.revision, delta.conflated);
                if same(&before) != same(part) {
                    self.shape("the parts of a delta do not belong together");
                }
                before.events.extend_from_slice(&part.events);
                before
            }
        };
        whole.last_part = part.last_part;
        if whole.last_part {
            self.delta(&whole);
        } else {
            self.parts = Some(whole);
        }
    }

    fn delta(&mut self, delta: &Delta) {
        self.summary.deltas += 1;
        self.summary.events += delta.events.len();
        self.summary.conflated += usize::from(delta.conflated);
        let Some(place) = self.place.take() else {
            return;
        };
        if delta.prev_revision != place.revision {
            let says = format!(
                "it continues {} and the watcher knows {}",
                delta.prev_revision, place.revision
            );
            self.violate(Kind::Chain, delta.revision, None, says);
        }
        if delta.revision <= place.revision {
            let says = format!(
                "the watcher knew everything up to {} already",
                place.revision
            );
            let path = delta.events.first().map(|event| event.path.clone());
            self.violate(Kind::Order, delta.revision, path, says);
            self.place = Some(place);
            return;
        }
        let line = self.line(place.reign);
        if !delta.conflated {
            self.passes_over(&place, delta.revision - 1, Kind::Gap);
        }
        let mut known = place.known.clone();
        line.advance(&mut known, place.revision, delta.revision);
        let faults = if delta.conflated {
            events::compare_conflated(&self.truth.prefix, &delta.events, &place.known, &known)
        } else {
            let steps = line
                .steps
                .get(&delta.revision)
                .map_or(&[][..], Vec::as_slice);
            events::compare(&self.truth.prefix, &delta.events, steps)
        };
        for (kind, path, says) in faults {
            self.violate(kind, delta.revision, Some(path), says);
        }
        self.arrive(place, delta.revision, known);
    }

    fn bookmark(&mut self, revision: i64) {
        let Some(place) = self.place.take() else {
            return;
        };
        if revision < place.revision {
            let says = format!(
                "the watcher knew everything up to {} already",
                place.revision
            );
            self.violate(Kind::Bookmark, revision, None, says);
            self.place = Some(place);
            return;
        }
        self.passes_over(&place, revision, Kind::Bookmark);
        let mut known = place.known.clone();
        self.line(place.reign)
            .advance(&mut known, place.revision, revision);
        self.arrive(place, revision, known);
    }

    /// Nothing may have happened between what the watcher knows and `revision`.
    fn passes_over(&mut self, place: &Place, revision: i64, kind: Kind) {
        let line = self.line(place.reign);
        let missed: Vec<_> = line.between(place.revision, revision).collect();
        if self.expect.may_miss_undone && !missed.is_empty() {
            let mut now = place.known.clone();
            line.advance(&mut now, place.revision, revision);
            if now == place.known {
                self.summary.missed_undone += missed.len();
                return;
            }
        }
        for (at, step) in missed {
            let says = format!("a change was not told before {revision}");
            self.violate(kind, at, Some(step.path.clone()), says);
        }
    }

    fn arrive(&mut self, place: Place, revision: i64, known: BTreeMap<String, Look>) {
        self.summary.through = revision;
        // One that is beyond the epoch's end is at a place that does not exist.
        self.reign(&place.epoch, revision);
        self.place = Some(Place {
            revision,
            known,
            ..place
        });
    }

    /// Everything must have arrived by now.
    fn end(&mut self) {
        let (Some(reach), Some(last)) = (self.expect.reach, self.truth.lines.last()) else {
            return;
        };
        let newest = self.truth.lines.len() - 1;
        match &self.place {
            Some(place) if place.reign.line == newest => {
                let (from, known) = (place.revision, &place.known);
                let mut now = known.clone();
                last.advance(&mut now, from, reach);
                if now != *known {
                    let missing: Vec<_> = last.between(from, reach).collect();
                    let (at, step) = missing[0];
                    let says = format!("{} changes have not arrived", missing.len());
                    self.violate(Kind::Behind, at, Some(step.path.clone()), says);
                }
            }
            Some(place) => {
                let says = format!(
                    "it is still at {} of a history that is lost",
                    place.revision
                );
                self.violate(Kind::Behind, reach, None, says);
            }
            None => {
                self.violate(Kind::Behind, reach, None, "it knows nothing".to_owned());
            }
        }
    }

    /// Where an epoch was current, if `revision` can belong to it.
    fn reign(&mut self, epoch: &str, revision: i64) -> Option<Reign> {
        let reign = self.truth.reign(epoch);
        let belongs = |reign: &Reign| (reign.first..=reign.last).contains(&revision);
        if !reign.as_ref().is_some_and(belongs) {
            let says = match reign {
                Some(Reign { first, last, .. }) => {
                    format!("epoch {epoch} lasted from {first} to {last}")
                }
                None => format!("the store never had the epoch {epoch}"),
            };
            self.violate(Kind::Epoch, revision, None, says);
        }
        reign
    }

    fn line(&self, reign: Reign) -> &'a Line {
        &self.truth.lines[reign.line]
    }

    fn shape(&mut self, says: &str) {
        let revision = self.place.as_ref().map_or(0, |place| place.revision);
        self.violate(Kind::Shape, revision, None, says.to_owned());
    }

    fn violate(&mut self, kind: Kind, revision: i64, path: Option<String>, says: String) {
        self.violations.push(Violation {
            kind,
            entry: self.entry,
            revision,
            path,
            says,
        });
    }
}
