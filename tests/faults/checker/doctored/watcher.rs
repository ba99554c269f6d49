//! A watcher that is told everything as it should be, in one of the many ways in which it may be.

use std::{collections::BTreeMap, time::Instant};

use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};
use stanchion_client::proto::{DeleteCause, EventType, ResetReason};
use tonic::Code;

use crate::{
    checker::{
        projection::Step,
        truth::{Reign, Truth},
    },
    recorder::{Body, Delta, Entry, Event, Message, Observation, What},
    view::Look,
};

struct Teller<'a> {
    truth: &'a Truth,
    rng: &'a mut StdRng,
    seen: Observation,
    epoch: String,
    reign: Reign,
    revision: i64,
    replica: usize,
}

/// What a watcher saw that saw all of it.
pub fn observe(truth: &Truth, rng: &mut StdRng) -> Observation {
    let mut teller = Teller {
        truth,
        rng,
        seen: Observation::default(),
        epoch: String::new(),
        reign: truth.reign("0000000000000001").unwrap(),
        revision: 0,
        replica: 0,
    };
    for number in 1..=truth.lines.len() {
        teller.epoch = format!("{number:016x}");
        teller.reign = truth.reign(&teller.epoch).unwrap();
        if number == 1 {
            teller.open(None);
        } else {
            teller.tell(Body::Reset(ResetReason::EpochChanged));
        }
        let middle = (teller.reign.first + teller.reign.last) / 2;
        let begin = teller.rng.random_range(teller.reign.first..middle);
        teller.snapshot(begin);
        teller.follow();
    }
    teller.seen
}

// === impl Teller ===

impl Teller<'_> {
    fn follow(&mut self) {
        let line = &self.truth.lines[self.reign.line];
        while let Some((next, steps)) = line.steps.range(self.revision + 1..).next() {
            match self.rng.random_range(0..10) {
                0 => {
                    let revision = self.rng.random_range(self.revision..*next);
                    self.bookmark(revision, false);
                }
                1 => {
                    if self.rng.random_bool(0.5) {
                        // It begins with a delta and does not end.
                        let mut delta = self.delta(*next, steps);
                        delta.last_part = false;
                        self.tell(Body::Delta(delta));
                        self.end(Code::Unavailable);
                    } else {
                        self.bookmark(*next - 1, true);
                        self.end(Code::Ok);
                    }
                    self.open(Some(self.revision));
                    self.bookmark(self.revision, false);
                }
                2 => self.conflate(),
                3 if self.rng.random_bool(0.2) => {
                    let begin = self.rng.random_range(self.revision..=self.reign.last);
                    self.tell(Body::Reset(ResetReason::BehindLog));
                    self.snapshot(begin);
                }
                _ => {
                    let delta = self.delta(*next, steps);
                    self.in_parts(delta);
                }
            }
        }
        self.bookmark(self.reign.last, false);
    }

    fn delta(&mut self, revision: i64, steps: &[Step]) -> Delta {
        let events = steps.iter().map(|step| event(step, self.rng)).collect();
        Delta {
            prev_revision: self.revision,
            revision,
            events,
            conflated: false,
            last_part: true,
        }
    }

    /// Tells some revisions merged, if that leaves anything to tell.
    fn conflate(&mut self) {
        let line = &self.truth.lines[self.reign.line];
        let merged = self.rng.random_range(2..5);
        let revisions = line
            .steps
            .range(self.revision + 1..)
            .map(|(revision, _)| *revision);
        let Some(revision) = revisions.take(merged).last() else {
            return;
        };
        let (before, after) = (line.at(self.revision), line.at(revision));
        let mut events = Vec::new();
        for (path, look) in &after {
            let (kind, told) = match before.get(path) {
                Some(known) if known == look => continue,
                None if self.rng.random_bool(0.5) => (EventType::Added, look),
                _ => (EventType::Modified, look),
            };
            events.push(told_of(kind, path, told, DeleteCause::Unspecified));
        }
        for (path, look) in before.iter().filter(|(path, _)| !after.contains_key(*path)) {
            events.push(told_of(
                EventType::Deleted,
                path,
                look,
                DeleteCause::Unspecified,
            ));
        }
        if events.is_empty() {
            return;
        }
        self.in_parts(Delta {
            prev_revision: self.revision,
            revision,
            events,
            conflated: true,
            last_part: true,
        });
    }

    fn in_parts(&mut self, delta: Delta) {
        self.revision = delta.revision;
        if delta.events.len() < 2 || self.rng.random_bool(0.5) {
            return self.tell(Body::Delta(delta));
        }
        let (first, rest) = delta.events.split_at(1);
        for (events, last_part) in [(first, false), (rest, true)] {
            self.tell(Body::Delta(Delta {
                events: events.to_vec(),
                last_part,
                ..delta.clone()
            }));
        }
    }

    fn snapshot(&mut self, revision: i64) {
        let items: BTreeMap<String, Look> = self.truth.lines[self.reign.line].at(revision);
        let items: Vec<_> = items.into_iter().collect();
        for part in items.chunks(self.rng.random_range(1..4)) {
            self.tell(Body::Snapshot(part.to_vec()));
        }
        self.tell(Body::SnapshotEnd(revision));
        self.revision = revision;
    }

    fn bookmark(&mut self, revision: i64, last: bool) {
        self.tell(Body::Bookmark { revision, last });
        self.revision = revision;
    }

    fn open(&mut self, after: Option<i64>) {
        self.replica += 1;
        let replica = self.replica % 3;
        self.note(What::Opened { replica, after });
    }

    fn end(&mut self, code: Code) {
        let why = String::new();
        self.note(What::Ended { code, why });
    }

    fn tell(&mut self, body: Body) {
        let message = Message {
            epoch: self.epoch.clone(),
            replica: format!("replica-{}", self.replica % 3),
            resumable: body.through().is_some(),
            body,
        };
        self.note(What::Told(message));
    }

    fn note(&mut self, what: What) {
        let at = Instant::now();
        self.seen.entries.push(Entry { at, what });
    }
}

fn event(step: &Step, rng: &mut StdRng) -> Event {
    let path = &step.path;
    match (&step.before, &step.after) {
        (None, Some(look)) => told_of(EventType::Added, path, look, DeleteCause::Unspecified),
        (_, Some(look)) => told_of(EventType::Modified, path, look, DeleteCause::Unspecified),
        (before, None) => {
            let cause = *step.causes.choose(rng).unwrap();
            told_of(EventType::Deleted, path, before.as_ref().unwrap(), cause)
        }
    }
}

fn told_of(kind: EventType, path: &str, look: &str, cause: DeleteCause) -> Event {
    Event {
        kind,
        path: path.to_owned(),
        look: look.to_owned(),
        cause,
    }
}
