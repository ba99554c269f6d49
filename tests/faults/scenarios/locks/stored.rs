//! What the store did to locks, elections and counters.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use prost::Message as _;
use stanchion::proto::store::{ConfigHead, LockDelay, LockMode, LockWaiter};

use crate::{
    load::COUNTERS,
    lock_history::{Event, Micros, Mode, Went},
    witness::{Change, History},
};

/// How far the era stands above the revision in a token.
const ERA_SHIFT: u32 = 40;
/// What the key of a claim ends with where the key is that of its delay.
const DELAY: &str = ".delay";
/// Where claims are.
const QUEUES: [&str; 2] = ["lock/default/", "elect/default/"];

/// The claims that there are.
#[derive(Default)]
struct Stored {
    events: Vec<Event>,
    /// Tokens of claims, and of what stands beside them, by the key of the claim.
    tokens: HashMap<String, i64>,
    delays: HashMap<String, i64>,
}

/// One revision.
struct Moment<'a> {
    revision: i64,
    at: Micros,
    /// The sessions that it ended.
    ended: HashSet<&'a str>,
}

/// All that happened, in the time that began then.
pub(super) fn events(history: &History, begun: Instant) -> Vec<Event> {
    let prefix = history.prefix();
    let mut stored = Stored::default();
    for (&revision, told) in history.parts.iter().flat_map(|part| &part.revisions) {
        let changes = told.changes.iter().filter_map(|change| {
            let key = std::str::from_utf8(&change.key).unwrap();
            Some((key.strip_prefix(&prefix)?, change))
        });
        let changes: Vec<_> = changes.collect();
        let gone = changes.iter().filter(|(_, change)| change.put.is_none());
        let moment = Moment {
            revision,
            at: micros(told.first.saturating_duration_since(begun)),
            ended: gone
                .filter_map(|(key, _)| key.strip_prefix("ses/"))
                .collect(),
        };
        for (key, change) in changes {
            stored.take(&moment, key, change);
        }
    }
    stored.events
}

// === impl Stored ===

impl Stored {
    fn take(&mut self, moment: &Moment<'_>, key: &str, change: &Change) {
        let claims = QUEUES.iter().find_map(|queues| key.strip_prefix(queues));
        if let Some(claim) = claims {
            let (lock, place) = claim.split_once('/').unwrap();
            match place.strip_suffix(DELAY) {
                None => self.claim(moment, lock, place, change),
                Some(place) => self.delay(moment, lock, place, change),
            }
        } else if let Some(lock) = key.strip_prefix(&format!("cfg/default/{COUNTERS}")) {
            self.counter(moment, lock, change);
        }
    }

    fn claim(&mut self, moment: &Moment<'_>, lock: &str, place: &str, change: &Change) {
        let revision = moment.revision;
        match &change.put {
            Some(put) if put.create_revision == revision => {
                let waiter = LockWaiter::decode(put.value.clone()).unwrap();
                let token = token(waiter.era, revision);
                self.tokens.insert(format!("{lock}/{place}"), token);
                self.events.push(Event::Queued {
                    revision,
                    lock: lock.to_owned(),
                    token,
                    mode: mode(&waiter),
                    delay: waiter
                        .lock_delay
                        .map(|delay| micros(delay.try_into().unwrap())),
                });
            }
            Some(_) => {}
            None => {
                let (session, _) = place.split_once('.').unwrap();
                let token = self.tokens.remove(&format!("{lock}/{place}"));
                self.events.extend(token.map(|token| Event::Left {
                    revision,
                    lock: lock.to_owned(),
                    token,
                    went: Some(Went {
                        at: moment.at,
                        with_session: moment.ended.contains(session),
                    }),
                }));
            }
        }
    }

    /// What stands beside a claim is put, over what stood there before, or goes.
    fn delay(&mut self, moment: &Moment<'_>, lock: &str, place: &str, change: &Change) {
        let key = format!("{lock}/{place}");
        let before = match &change.put {
            Some(put) => {
                let delay = LockDelay::decode(put.value.clone()).unwrap();
                self.delays.insert(key, token(delay.era, moment.revision))
            }
            None => self.delays.remove(&key),
        };
        self.events.extend(before.map(|token| Event::Over {
            revision: moment.revision,
            lock: lock.to_owned(),
            token,
            at: moment.at,
        }));
    }

    fn counter(&mut self, moment: &Moment<'_>, lock: &str, change: &Change) {
        let Some(put) = &change.put else { return };
        let head = ConfigHead::decode(put.value.clone()).unwrap();
        let content = String::from_utf8(head.content.to_vec()).unwrap();
        let numbers: Vec<i64> = content.split(' ').map(|n| n.parse().unwrap()).collect();
        self.events.push(Event::Counted {
            revision: moment.revision,
            lock: lock.to_owned(),
            version: head.version,
            count: numbers[0],
            token: numbers[1],
            operation: numbers[2].cast_unsigned(),
        });
    }
}

fn token(era: i64, revision: i64) -> i64 {
    (era << ERA_SHIFT) + revision
}

fn micros(time: Duration) -> Micros {
    Micros::try_from(time.as_micros()).unwrap()
}

fn mode(waiter: &LockWaiter) -> Mode {
    match waiter.mode() {
        LockMode::Shared => Mode::Shared,
        LockMode::Permits => Mode::Permits {
            count: waiter.permits,
            total: waiter.total_permits,
        },
        _ => Mode::Exclusive,
    }
}
