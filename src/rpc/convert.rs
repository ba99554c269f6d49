//! From wire to domain: where every INVALID_ARGUMENT is born, and the few conversions all
//! services share.

mod alike;

use std::{collections::BTreeMap, fmt::Display, time::Duration};

use stanchion_client::proto;
use tonic::Status;

use crate::{
    domain::{
        Error,
        audit::Caller,
        guard::Guard,
        keyspace::{QueueKind, QueuePath},
        names::{self, Label, NameError, Namespace, QueueName},
        session_id::SessionId,
        watch::{Freshness, Start, Token},
    },
    rpc::{Peer, page, status},
};

pub(super) use self::alike::{delete, put, wait};

/// How many entries a page has when the request does not say.
const DEFAULT_PAGE: usize = 100;
/// How many entries a page has at most.
const MAX_PAGE: usize = 1000;
/// The longest request id, in bytes.
const MAX_REQUEST_ID: usize = 128;
/// The longest comment on a change, in bytes.
const MAX_COMMENT: usize = 1024;
/// The most acknowledgements of one message.
const MAX_ACKS: usize = 1000;
/// The longest merge interval of a watch.
const MAX_MIN_INTERVAL: Duration = Duration::from_secs(60);

/// Whom a call came from. A read does not say.
pub(super) fn caller<T>(request: &tonic::Request<T>) -> Caller {
    Caller {
        address: Peer::of(request).map(|peer| peer.address),
        ..Caller::default()
    }
}

/// Collects what is wrong with a request, so that the caller is told all of it at once.
///
/// Every parser returns a value, right or wrong; nothing is used before [`Violations::check`].
#[derive(Default)]
pub struct Violations(Vec<(String, String)>);

// === impl Violations ===

impl Violations {
    /// A request nothing is wrong with yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that `field` breaks a rule.
    pub fn add(&mut self, field: impl Into<String>, description: impl ToString) {
        self.0.push((field.into(), description.to_string()));
    }

    /// Has something parsed that stands at `place`, such as `ports[1].`: what breaks a rule there is
    /// noted with it. Most requests break none, and are spared the names of their fields.
    pub fn within<T>(&mut self, place: impl Display, parse: impl FnOnce(&mut Self) -> T) -> T {
        let known = self.0.len();
        let parsed = parse(self);
        for (field, _) in &mut self.0[known..] {
            field.insert_str(0, &place.to_string());
        }
        parsed
    }

    /// Refuses the request if anything is wrong with it.
    pub fn check(self) -> Result<(), Status> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(status::invalid(self.0))
        }
    }

    /// Hands out what was parsed, or refuses the request.
    pub fn give<T>(self, parsed: Option<T>) -> Result<T, Status> {
        self.check()?;
        // A parser that gives nothing has said why.
        parsed.ok_or_else(|| {
            status::of(Error::Internal(
                "a field was refused without a reason".into(),
            ))
        })
    }

    /// Takes the value out of a parse, or notes why there is none.
    pub fn take<T, E: ToString>(&mut self, field: &str, parsed: Result<T, E>) -> Option<T> {
        parsed
            .map_err(|error| self.add(field, error.to_string()))
            .ok()
    }

    /// A message that must be there.
    pub fn required<T: Default>(&mut self, field: &str, message: Option<T>) -> T {
        message.unwrap_or_else(|| {
            self.add(field, NameError::Empty);
            T::default()
        })
    }

    /// A namespace; nothing means `default`.
    pub fn namespace(&mut self, text: &str) -> Option<Namespace> {
        self.take("namespace", Namespace::parse_or_default(text))
    }

    /// Free text that names something.
    pub fn label(&mut self, field: &str, text: &str) -> Label {
        self.take(field, Label::parse(text)).unwrap_or_default()
    }

    /// A request id; may be empty.
    pub fn request_id(&mut self, text: &str) -> String {
        self.id("request_id", text)
    }

    /// An id that a caller made up, best a UUID; may be empty.
    pub fn id(&mut self, field: &str, text: &str) -> String {
        if text.len() > MAX_REQUEST_ID {
            let length = text.len();
            self.add(
                field,
                format!("must be at most {MAX_REQUEST_ID} bytes, is {length}"),
            );
            return String::new();
        }
        self.label(field, text).to_string()
    }

    /// A session id. One that cannot be is answered like one that is gone, by the caller.
    pub fn session_id(&mut self, text: &str) -> Option<SessionId> {
        if text.is_empty() {
            self.add("session_id", NameError::Empty);
            return None;
        }
        SessionId::parse(text)
    }

    /// A revision that something must have; of at least `least`, where `0` is that of nothing.
    pub fn expected_revision(&mut self, revision: Option<i64>, least: i64) -> Option<i64> {
        if revision.is_some_and(|revision| revision < least) {
            self.add("expected_revision", format!("must be at least {least}"));
        }
        revision
    }

    /// A SHA-256 in hexadecimal digits.
    pub fn sha256(&mut self, field: &str, text: &str) -> Option<[u8; 32]> {
        let sum = page::unhex(text).and_then(|bytes| bytes.try_into().ok());
        if sum.is_none() {
            self.add(field, "must be 64 lower-case hexadecimal digits");
        }
        sum
    }

    /// A bounded map of texts.
    pub fn metadata(
        &mut self,
        field: &str,
        map: BTreeMap<String, String>,
        entries: usize,
        bytes: usize,
    ) -> BTreeMap<String, String> {
        if map.len() > entries {
            self.add(
                field,
                format!("must have at most {entries} entries, has {}", map.len()),
            );
        }
        let size: usize = map.iter().map(|(key, value)| key.len() + value.len()).sum();
        if size > bytes {
            self.add(field, format!("must be at most {bytes} bytes, is {size}"));
        }
        for key in map.keys() {
            if key.is_empty() || key.len() > names::MAX_NAME || key.chars().any(char::is_control) {
                self.add(
                    field,
                    format!(
                        "keys must be 1 to {} bytes without control characters",
                        names::MAX_NAME
                    ),
                );
                break;
            }
        }
        map
    }

    /// A text of at most `bytes`.
    pub fn text(&mut self, field: &str, text: String, bytes: usize) -> String {
        if text.len() > bytes {
            self.add(
                field,
                format!("must be at most {bytes} bytes, is {}", text.len()),
            );
        }
        text
    }

    /// Why a change is made.
    pub fn comment(&mut self, text: String) -> String {
        self.text("comment", text, MAX_COMMENT)
    }

    /// A duration that is not negative.
    pub fn duration(
        &mut self,
        field: &str,
        value: Option<prost_types::Duration>,
    ) -> Option<Duration> {
        self.take(field, value.map(Duration::try_from).transpose())
            .flatten()
    }

    /// How many entries a page is to have.
    pub fn page_size(&mut self, size: i32) -> usize {
        match usize::try_from(size) {
            Ok(0) => DEFAULT_PAGE,
            Ok(size) => size.min(MAX_PAGE),
            Err(_) => {
                self.add("page_size", "must not be negative");
                DEFAULT_PAGE
            }
        }
    }

    /// How fresh a read must be.
    pub fn freshness(&mut self, consistency: i32, min_revision: i64) -> Freshness {
        if min_revision < 0 {
            self.add("min_revision", "must not be negative");
        }
        match proto::Consistency::try_from(consistency) {
            Ok(proto::Consistency::Linearizable) => Freshness::Linearizable,
            Ok(proto::Consistency::Cached | proto::Consistency::Unspecified) => {
                if min_revision > 0 {
                    Freshness::AtLeast(min_revision)
                } else {
                    Freshness::Cached
                }
            }
            Err(_) => {
                self.add("consistency", "is not a known value");
                Freshness::Cached
            }
        }
    }

    /// The lock or election a mutation is bound to, if it is to one. A guard without a namespace
    /// means that of the request.
    pub fn guard(&mut self, guard: Option<proto::Guard>, namespace: &str) -> Option<Guard> {
        let guard = guard?;
        let namespace = if guard.namespace.is_empty() {
            Namespace::parse_or_default(namespace).ok()
        } else {
            self.take("guard.namespace", Namespace::parse(&guard.namespace))
        };
        let (kind, name) = match (guard.lock.as_str(), guard.election.as_str()) {
            (lock, "") => {
                let name = self.take("guard.lock", QueueName::parse(lock));
                (QueueKind::Lock, name)
            }
            ("", election) => {
                let name = self.take("guard.election", QueueName::parse(election));
                (QueueKind::Election, name)
            }
            _ => {
                self.add("guard.election", "must not be set together with `lock`");
                return None;
            }
        };
        if guard.fencing_token <= 0 {
            self.add("guard.fencing_token", "must be positive");
        }
        Some(Guard {
            lock: QueuePath {
                kind,
                namespace: namespace?,
                name: name?,
            },
            fencing_token: guard.fencing_token,
        })
    }

    /// Where a watch begins. `epoch` is the present one.
    pub fn start(&mut self, start: Option<proto::WatchStart>, epoch: &str) -> Start {
        use proto::watch_start::Position;
        let Some(start) = start else {
            return Start::Snapshot;
        };
        match start.position {
            None => Start::Snapshot,
            Some(Position::ResumeToken(bytes)) => match Token::decode(&bytes) {
                Some(token) => Start::Resume(token),
                None => {
                    self.add("start.resume_token", "is not a resume token");
                    Start::Snapshot
                }
            },
            Some(Position::AfterRevision(revision)) if revision < 0 => {
                self.add("start.after_revision", "must not be negative");
                Start::Snapshot
            }
            // A position of another epoch means nothing here; a snapshot is what a reset ends in.
            Some(Position::AfterRevision(_)) if !start.epoch.is_empty() && start.epoch != epoch => {
                Start::Elsewhere
            }
            Some(Position::AfterRevision(revision)) => Start::After(revision),
        }
    }

    /// Acknowledgements of watches.
    pub fn acks(&mut self, acks: Vec<proto::WatchAck>) -> Vec<proto::WatchAck> {
        if acks.len() > MAX_ACKS {
            let count = acks.len();
            self.add("acks", format!("must be at most {MAX_ACKS}, are {count}"));
        }
        for (index, ack) in acks.iter().enumerate().take(MAX_ACKS) {
            if ack.subscriber_id.is_empty() {
                self.add(format!("acks[{index}].subscriber_id"), NameError::Empty);
            }
            if ack.revision <= 0 {
                self.add(format!("acks[{index}].revision"), "must be positive");
            }
        }
        acks
    }

    /// How long a watch merges.
    pub fn min_interval(&mut self, value: Option<prost_types::Duration>) -> Duration {
        let interval = self.duration("min_interval", value).unwrap_or_default();
        if interval > MAX_MIN_INTERVAL {
            self.add("min_interval", "must be at most 1 min");
        }
        interval
    }
}

/// Writes a duration for the wire.
pub fn wire_duration(value: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(value.as_secs()).unwrap_or(i64::MAX),
        nanos: value.subsec_nanos().cast_signed(),
    }
}

/// Writes a count for the wire.
pub fn wire_count(value: usize) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}
