//! What a call can come to besides its answer: few outcomes, each of which says if a retry helps.

mod kinds;

use std::borrow::Cow;

use crate::{
    cache,
    store::{self, Outcome, Revision},
};

use super::{
    barrier::Refusal,
    config::{self, Violation},
    keyspace::QueuePath,
    names::ConfigKey,
    namespace::Quota,
};

pub use self::kinds::{Expectation, Resource};

/// Why a call did not do what was asked. Nothing is half done on any of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request breaks a rule, whatever the state.
    #[error("{field}: {description}")]
    Invalid {
        /// The field of the request, as the proto names it.
        field: Cow<'static, str>,
        /// What is wrong with it.
        description: String,
    },
    /// The content is not what its type says.
    #[error("{field}: {reason}{}", config::place(*line, *column))]
    Malformed {
        /// The config item.
        key: String,
        /// The field of the request.
        field: String,
        /// The line, from 1; `0`: none in particular.
        line: usize,
        /// The character in it, from 1; `0`: none in particular.
        column: usize,
        /// What is wrong.
        reason: String,
    },
    /// The content breaks a schema that covers its key.
    #[error("{field}: {}", config::told(violations, *count))]
    SchemaViolated {
        /// The config item.
        key: String,
        /// The field of the request.
        field: String,
        /// The first violations.
        violations: Vec<Violation>,
        /// How many there are.
        count: usize,
    },
    /// The namespace has as many schemas as it may.
    #[error("namespace {namespace} has its {limit} schemas already")]
    TooManySchemas {
        /// The namespace.
        namespace: String,
        /// The most it may have.
        limit: usize,
    },
    /// The config item has as many pinned versions as it may.
    #[error("config {name} has its {limit} pinned versions already")]
    TooManyPins {
        /// The config item.
        name: String,
        /// The most it may have.
        limit: usize,
    },
    /// The thing does not exist.
    #[error("{resource} {name} does not exist")]
    NotFound {
        /// What kind of thing.
        resource: Resource,
        /// Its name.
        name: String,
    },
    /// Somebody else has it.
    #[error("{resource} {name} belongs to {holder}")]
    AlreadyExists {
        /// What kind of thing.
        resource: Resource,
        /// Its name.
        name: String,
        /// Who has it, in words fit for strangers.
        holder: String,
    },
    /// It was changed since the caller read it.
    #[error("expected {expected}, found {found}")]
    Mismatch {
        /// What the caller expected: a revision, or a version of a config item.
        expected: i64,
        /// What is there.
        found: i64,
        /// Which of the two.
        what: Expectation,
    },
    /// The content of a config item is not the one the caller read.
    #[error("the content is another one than expected")]
    ChecksumMismatch {
        /// SHA-256 of the content that the caller expected.
        expected: [u8; 32],
        /// SHA-256 of what is there; `None`: nothing is.
        found: Option<[u8; 32]>,
    },
    /// The version of a config item has no lines.
    #[error("config {name} is no text")]
    NotText {
        /// The item.
        name: String,
    },
    /// Config items of a release are not as expected.
    #[error("{} configs are not as expected, {} first", keys.len(), keys.first().map_or("", String::as_str))]
    ConfigsChanged {
        /// Which.
        keys: Vec<String>,
    },
    /// The lock is still held by another when the wait ends.
    #[error("lock {name} is held by {holder}")]
    LockHeld {
        /// The lock.
        name: String,
        /// Who has it, in words fit for strangers.
        holder: String,
    },
    /// Nobody is granted the lock yet when the wait ends, because its holder died.
    #[error("nobody is granted lock {name} yet: {owner} died holding it")]
    LockDelayed {
        /// The lock.
        name: String,
        /// Who died, in words fit for strangers.
        owner: String,
    },
    /// Another candidate still leads the election when the wait ends.
    #[error("election {name} is led by {holder}")]
    LedByAnother {
        /// The election.
        name: String,
        /// Who leads, in words fit for strangers.
        holder: String,
    },
    /// The caller does not lead the election in that term.
    #[error("election {name} is not led in that term by this session")]
    NotLeader {
        /// The election.
        name: String,
    },
    /// The store lost data, and no lock is granted while those who held one before may not know.
    #[error("no lock is granted and nobody elected yet: the store lost data a moment ago")]
    LocksClosed,
    /// The instance belongs to another session than the caller's.
    #[error("instance {name} belongs to another session")]
    NotOwner {
        /// The instance.
        name: String,
    },
    /// The request was cancelled before it arrived: it finds the mark that its cancellation left.
    #[error("the request was undone before")]
    RequestUndone,
    /// Another call of the same request has the claim now.
    #[error("the same request came again and has its claim on {0} now")]
    TakenOver(QueuePath),
    /// Others kept changing the thing while we tried to.
    #[error("{name} was changed by others again and again")]
    Conflict {
        /// The thing.
        name: String,
    },
    /// The lock has another number of permits, as long as somebody claims some.
    #[error("lock {name} has {total} permits as long as anybody claims some")]
    PermitsDiffer {
        /// The lock.
        name: String,
        /// How many it has.
        total: u32,
    },
    /// The same request claims the lock in another way than before.
    #[error("the same request claimed lock {name} in another way before")]
    ClaimDiffers {
        /// The lock.
        name: String,
    },
    /// The owner acquired the lock again as often as it may.
    #[error("lock {name} is held {limit} times by its owner already")]
    TooManyHolds {
        /// The lock.
        name: String,
        /// How often it may be held.
        limit: usize,
    },
    /// The caller does not hold the lock.
    #[error("lock {name} is not held with that token")]
    LockNotHeld {
        /// The lock.
        name: String,
    },
    /// The lock or election that the mutation is bound to is not held with that token.
    #[error("the guard does not hold: {queue} is not held with that token")]
    GuardFailed {
        /// The lock, or the election.
        queue: QueuePath,
    },
    /// A barrier or a latch says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The part of the audit that was asked for is not kept any more.
    #[error("the audit is kept from entry {first} on")]
    AuditPruned {
        /// The oldest entry that is kept.
        first: i64,
    },
    /// The session expired, was closed, or never was.
    #[error("the session does not exist or has expired")]
    LeaseExpired,
    /// The session has as many keys as it may.
    #[error("the session has its {limit} keys already")]
    SessionFull {
        /// The most it may have.
        limit: usize,
    },
    /// The lock or election has as many waiters as it may.
    #[error("{queue} has its {limit} waiters already")]
    TooManyWaiters {
        /// The lock, or the election.
        queue: QueuePath,
        /// The most it may have.
        limit: usize,
    },
    /// As many others report the instance's health as may.
    #[error("the health of instance {name} is reported by {limit} others already")]
    TooManyReporters {
        /// The instance.
        name: String,
        /// The most there may be.
        limit: usize,
    },
    /// An alias would lead to an alias.
    #[error("service {name} is an alias, or has one: aliases lead one step")]
    AliasChain {
        /// The service in the middle.
        name: String,
    },
    /// An alias would show instances that its namespace may not see.
    #[error("service {name} is not exported to namespace {namespace}")]
    NotExported {
        /// The service that the alias would lead to.
        name: String,
        /// The namespace of the alias.
        namespace: String,
    },
    /// Whoever asks for the service is shown the instances of another one.
    #[error("service {name} is an alias and has no instances of its own")]
    ServiceIsAlias {
        /// The service.
        name: String,
    },
    /// Something is in the namespace.
    #[error("namespace {namespace} is not empty: it has {holds}")]
    NamespaceNotEmpty {
        /// The namespace.
        namespace: String,
        /// What is in it, in words.
        holds: String,
    },
    /// The namespace has as much as it may.
    #[error("namespace {namespace} has {current} {quota}, and may have {limit}")]
    QuotaExceeded {
        /// The namespace.
        namespace: String,
        /// What is limited.
        quota: Quota,
        /// The most it may have.
        limit: u32,
        /// What it has.
        current: usize,
    },
    /// What a version said is not there any more, or is something else.
    #[error("what {name} said is lost")]
    ContentLost {
        /// The version.
        name: String,
    },
    /// A replica would misread what is to be written.
    #[error("replica {replica} of version {version} is too old for contents this large")]
    ReplicaTooOld {
        /// Which replica, by its address.
        replica: String,
        /// Its version.
        version: String,
    },
    /// A record was written by a newer Stanchion, and rewriting it would lose what we do not know.
    #[error("{name} was written in the newer format {format}")]
    NewerFormat {
        /// The key or thing.
        name: String,
        /// The format it has.
        format: u32,
    },
    /// This replica is stopping.
    #[error("this replica is draining")]
    Draining,
    /// This replica has not read the store yet.
    #[error("this replica has not read the store yet")]
    NotReady,
    /// This replica has not caught up with what was asked for.
    #[error("{0}")]
    Behind(String),
    /// The mutation may have happened or not; the same request says which.
    #[error("the outcome is unknown: {0}")]
    CommitUnknown(String),
    /// The store said no or nothing.
    #[error(transparent)]
    Store(store::Error),
    /// A fault of ours.
    #[error("internal: {0}")]
    Internal(String),
}

// === impl Error ===

impl Error {
    /// A request that breaks a rule.
    pub fn invalid(field: impl Into<Cow<'static, str>>, description: impl ToString) -> Self {
        Self::Invalid {
            field: field.into(),
            description: description.to_string(),
        }
    }

    /// A request id that another request on the same key has.
    pub(super) fn reused_request() -> Self {
        Self::invalid("request_id", "was used for another request on this key")
    }

    /// Says within which field the one is that breaks a rule.
    pub fn within(self, outer: &str) -> Self {
        match self {
            Self::Invalid { field, description } => Self::Invalid {
                field: format!("{outer}{field}").into(),
                description,
            },
            error => error,
        }
    }

    /// Says of which item, and by which field, the content is that may not be written.
    pub(super) fn of_content(mut self, item: &ConfigKey, said_by: String) -> Self {
        if let Self::Malformed { key, field, .. } | Self::SchemaViolated { key, field, .. } =
            &mut self
        {
            (*key, *field) = (item.to_string(), said_by);
        }
        self
    }

    /// Refuses a stale expectation of a revision.
    pub fn unless_at(expected: Option<Revision>, found: Revision) -> Result<(), Self> {
        match expected {
            Some(expected) if expected != found => Err(Self::Mismatch {
                expected,
                found,
                what: Expectation::Revision,
            }),
            _ => Ok(()),
        }
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::LeaseNotFound => Self::LeaseExpired,
            error if error.outcome() == Outcome::Unknown => Self::CommitUnknown(error.to_string()),
            error => Self::Store(error),
        }
    }
}

impl From<cache::Error> for Error {
    fn from(error: cache::Error) -> Self {
        match error {
            // The cache only reads, so there is no outcome to be unsure of.
            cache::Error::Store(error) => Self::Store(error),
            cache::Error::Token(what) => {
                Self::invalid("resume_token", format!("the resume token {what}"))
            }
            cache::Error::NotReady => Self::NotReady,
            error @ cache::Error::Behind { .. } => Self::Behind(error.to_string()),
        }
    }
}
