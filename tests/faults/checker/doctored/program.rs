//! A store's history that never was: random, and the same for the same seed.

use std::{collections::BTreeMap, time::Instant};

use bytes::Bytes;
use prost::Message as _;
use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};
use stanchion::proto::store;

use crate::witness::{Change, History, Part, Put, Revision};

const ROOT: &str = "random";
const KEYS: [&str; 6] = ["in/a", "in/b", "in/c", "in/d", "out/a", "inn"];
const LOCKS: [&str; 3] = ["l", "l", "ll"];
const INSTANCES: [&str; 5] = ["web/a", "web/b", "web/c", "web2/a", "db/a"];

/// Writes one part of a history.
struct Writer<'a> {
    rng: &'a mut StdRng,
    part: Part,
    revision: i64,
    state: BTreeMap<String, i64>,
    sessions: Vec<String>,
    /// The session behind each instance.
    owners: BTreeMap<String, String>,
    versions: BTreeMap<&'static str, i64>,
}

/// A history of two epochs, the second of which begins with nothing, or of one.
pub fn history(rng: &mut StdRng) -> History {
    let parts = if rng.random_bool(0.3) { 2 } else { 1 };
    let parts = (0..parts).map(|number| part(rng, number)).collect();
    History {
        root: ROOT.into(),
        parts,
    }
}

fn part(rng: &mut StdRng, number: usize) -> Part {
    let length = rng.random_range(30..90);
    let mut writer = Writer {
        rng,
        part: Part::default(),
        revision: 1,
        state: BTreeMap::new(),
        sessions: Vec::new(),
        owners: BTreeMap::new(),
        versions: BTreeMap::new(),
    };
    let epoch = store::Epoch {
        id: format!("{:016x}", number + 1),
        ..store::Epoch::default()
    };
    writer.revision += 1;
    writer.commit(vec![("epoch".into(), Some(epoch.encode_to_vec()))]);
    for _ in 0..length {
        // Some revisions are of keys that nobody watches.
        writer.revision += writer.rng.random_range(1..3);
        let changes = writer.transaction();
        writer.commit(changes);
    }
    writer.part.end = writer.revision + 3;
    writer.part
}

type Write = (String, Option<Vec<u8>>);

// === impl Writer ===

impl Writer<'_> {
    fn transaction(&mut self) -> Vec<Write> {
        match self.rng.random_range(0..18) {
            0..3 => vec![self.config()],
            3 => {
                let mut all = BTreeMap::new();
                for _ in 0..3 {
                    let (key, value) = self.config();
                    all.insert(key, value);
                }
                all.into_iter().collect()
            }
            4 => self.prune(),
            5 => {
                let id = format!("s{}", self.revision);
                self.sessions.push(id.clone());
                vec![(
                    format!("ses/{id}"),
                    Some(store::Session::default().encode_to_vec()),
                )]
            }
            6 => self.end_session(),
            7..10 => vec![self.register()],
            10 => {
                let state = self.rng.random_range(1..4);
                self.decide("op", |registration| store::Operator {
                    state,
                    drain: Some(store::Drain {
                        registration,
                        ..store::Drain::default()
                    }),
                    ..store::Operator::default()
                })
            }
            11 => {
                let state = self.rng.random_range(1..3);
                let finding = store::Finding {
                    source: store::FindingSource::Report.into(),
                    state,
                    ..store::Finding::default()
                };
                self.decide("hlt", |registration| store::Health {
                    registration,
                    findings: vec![finding],
                    ..store::Health::default()
                })
            }
            12..16 => vec![self.queue()],
            16 => self.dequeue(),
            _ => self.close(),
        }
    }

    fn config(&mut self) -> Write {
        let key = *KEYS.choose(self.rng).unwrap();
        let version = self.versions.entry(key).or_default();
        *version += 1;
        let head = store::ConfigHead {
            version: *version,
            content: format!("content {}", self.rng.random_range(0..1000)).into(),
            deleted: self.rng.random_bool(0.3),
            ..store::ConfigHead::default()
        };
        (format!("cfg/default/{key}"), Some(head.encode_to_vec()))
    }

    fn prune(&mut self) -> Vec<Write> {
        let key = format!("cfg/default/{}", KEYS.choose(self.rng).unwrap());
        self.state
            .contains_key(&key)
            .then_some((key, None))
            .into_iter()
            .collect()
    }

    /// Closed, with an instance, or expired.
    fn end_session(&mut self) -> Vec<Write> {
        let Some(id) = self.sessions.pop() else {
            return Vec::new();
        };
        let mut changes = vec![(format!("ses/{id}"), None)];
        if self.rng.random_bool(0.5) {
            changes.splice(0..0, self.claims_of(&id));
        } else {
            changes.extend(self.claims_of(&id));
        }
        let instance = format!("reg/default/{}", INSTANCES.choose(self.rng).unwrap());
        if self.rng.random_bool(0.5) && self.state.contains_key(&instance) {
            changes.push((instance, None));
        }
        changes
    }

    fn register(&mut self) -> Write {
        let key = format!("reg/default/{}", INSTANCES.choose(self.rng).unwrap());
        if self.state.contains_key(&key) && self.rng.random_bool(0.4) {
            return (key, None);
        }
        let session_id = self.sessions.choose(self.rng).cloned().unwrap_or_default();
        self.owners.insert(key.clone(), session_id.clone());
        let record = store::Instance {
            session_id,
            address: format!("10.0.0.{}", self.rng.random_range(0..255)),
            ..store::Instance::default()
        };
        (key, Some(record.encode_to_vec()))
    }

    fn queue(&mut self) -> Write {
        let session_id = self.sessions.choose(self.rng).cloned().unwrap_or_default();
        let lock = LOCKS.choose(self.rng).unwrap();
        let record = store::LockWaiter {
            owner: format!("owner {}", self.rng.random_range(0..3)),
            era: 7,
            session_id: session_id.clone(),
            ..store::LockWaiter::default()
        };
        let id = self.rng.random_range(0..3);
        let key = format!("lock/default/{lock}/{session_id}.{id}");
        (key, Some(record.encode_to_vec()))
    }

    fn claims_of(&self, session: &str) -> Vec<Write> {
        let keys = self.state.keys().filter(|key| key.starts_with("lock/"));
        let own = keys.filter(|key| key.contains(&format!("/{session}")));
        own.map(|key| (key.clone(), None)).collect()
    }

    fn dequeue(&mut self) -> Vec<Write> {
        let claims = self.claims_of("");
        claims.choose(self.rng).cloned().into_iter().collect()
    }

    fn close(&mut self) -> Vec<Write> {
        let key = "closed".to_owned();
        let record = store::LocksClosed::default();
        let value = (!self.state.contains_key(&key)).then(|| record.encode_to_vec());
        vec![(key, value)]
    }

    /// Says something of the current registration of an instance, or takes it back.
    fn decide<R: prost::Message>(
        &mut self,
        kind: &str,
        record: impl FnOnce(Option<store::Registration>) -> R,
    ) -> Vec<Write> {
        let instance = INSTANCES.choose(self.rng).unwrap();
        let key = format!("{kind}/default/{instance}");
        if self.state.contains_key(&key) {
            return vec![(key, None)];
        }
        let registered = format!("reg/default/{instance}");
        let created = self.state.get(&registered).copied();
        let registration = created.map(|create_revision| store::Registration {
            create_revision,
            session_id: self.owners.get(&registered).cloned().unwrap_or_default(),
        });
        vec![(key, Some(record(registration).encode_to_vec()))]
    }

    fn commit(&mut self, writes: Vec<Write>) {
        if writes.is_empty() {
            return;
        }
        let revision = self.revision;
        let changes = writes.into_iter().map(|(key, value)| {
            let put = value.map(|value| Put {
                value: value.into(),
                create_revision: *self.state.entry(key.clone()).or_insert(revision),
                mod_revision: revision,
                version: 1,
                lease: 0,
            });
            if put.is_none() {
                self.state.remove(&key);
            }
            Change {
                key: Bytes::from(format!("/{ROOT}/v1/state/{key}")),
                put,
            }
        });
        let told = Revision {
            first: Instant::now(),
            changes: changes.collect(),
            at: Instant::now(),
        };
        self.part.revisions.insert(revision, told);
    }
}
