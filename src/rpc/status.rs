//! The one table from outcomes to gRPC: code, reason, and what the caller needs to go on.

mod barrier;
mod framework;

use std::{collections::HashMap, time::Duration};

use stanchion_client::proto::ErrorReason;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{
    domain::{
        Error,
        error::{Expectation, Resource},
        keyspace::{QueueKind, QueuePath},
    },
    rpc::page,
    store,
};

pub use self::framework::of_framework;

/// The `domain` of every `google.rpc.ErrorInfo`.
const DOMAIN: &str = "stanchion";
/// When a call refused for a passing reason may be repeated.
const RETRY: Duration = Duration::from_millis(500);

/// How many of many things an error names: headers have their bounds.
const NAMED: usize = 10;

/// What the table says of one error.
struct Row {
    code: Code,
    reason: ErrorReason,
    metadata: Vec<(&'static str, String)>,
    retry: Option<Duration>,
}

/// Turns an outcome into the status that tells it.
pub fn of(error: Error) -> Status {
    let row = row(&error);
    let mut details = ErrorDetails::new();
    if let Error::Invalid { field, description } = &error {
        details.add_bad_request_violation(field.as_ref(), description);
    }
    match &error {
        Error::Malformed { field, reason, .. } => {
            details.add_bad_request_violation(field, reason);
        }
        Error::SchemaViolated {
            field, violations, ..
        } => {
            for violation in violations {
                details.add_bad_request_violation(field, violation.to_string());
            }
        }
        Error::NotFound { resource, name } => {
            details.set_resource_info(resource.to_string(), name, "", "does not exist");
        }
        Error::GuardFailed { queue } => {
            details.add_precondition_failure_violation("GUARD", queue.path(), error.to_string());
        }
        Error::Mismatch { .. } | Error::ChecksumMismatch { .. } => {
            details.add_precondition_failure_violation("EXPECTED", "", error.to_string());
        }
        _ => {}
    }
    build(row, error.to_string(), details)
}

/// The status of a request whose fields break rules, each named.
pub fn invalid(violations: Vec<(String, String)>) -> Status {
    let message = violations
        .iter()
        .map(|(field, description)| format!("{field}: {description}"))
        .collect::<Vec<_>>()
        .join("; ");
    let mut details = ErrorDetails::new();
    for (field, description) in &violations {
        details.add_bad_request_violation(field, description);
    }
    let reason = match violations.as_slice() {
        [(field, _)] => invalid_reason(field),
        _ => ErrorReason::InvalidArgument,
    };
    build(Row::new(Code::InvalidArgument, reason), message, details)
}

/// The status of a call whose deadline has passed.
pub fn deadline_exceeded() -> Status {
    build(
        Row::new(Code::DeadlineExceeded, ErrorReason::DeadlineExceeded),
        "the deadline of the call has passed".into(),
        ErrorDetails::new(),
    )
}

/// The status that ends the stream of a subscriber who does not read.
pub fn subscriber_too_slow() -> Status {
    build(
        Row::new(Code::ResourceExhausted, ErrorReason::SubscriberTooSlow),
        "the subscriber did not read for too long".into(),
        ErrorDetails::new(),
    )
}

/// The status of a call whose answer would be too large.
pub fn response_too_large(size: usize, limit: usize) -> Status {
    build(
        Row::new(Code::ResourceExhausted, ErrorReason::ResponseTooLarge),
        format!("the answer is too large: it has {size} bytes, and may have {limit}"),
        ErrorDetails::new(),
    )
}

/// The status of a call that a bug ended.
pub fn internal(message: &str) -> Status {
    build(
        Row::new(Code::Internal, ErrorReason::Internal),
        message.into(),
        ErrorDetails::new(),
    )
}

/// The reason a status carries, for error outcomes inside an answer.
pub fn reason(error: &Error) -> (Code, ErrorReason, Vec<(&'static str, String)>) {
    let row = row(error);
    (row.code, row.reason, row.metadata)
}

fn row(error: &Error) -> Row {
    use ErrorReason as R;
    match error {
        Error::Invalid { field, .. } => Row::new(Code::InvalidArgument, invalid_reason(field)),
        Error::Malformed {
            key, line, column, ..
        } => Row::new(Code::InvalidArgument, R::ContentMalformed)
            .with("key", key)
            .with("line", line)
            .with("column", column),
        Error::SchemaViolated { key, count, .. } => {
            Row::new(Code::FailedPrecondition, R::SchemaViolated)
                .with("key", key)
                .with("violations", count)
        }
        Error::TooManySchemas { namespace, limit } => {
            Row::new(Code::ResourceExhausted, R::TooManySchemas)
                .with("namespace", namespace)
                .with("limit", limit)
        }
        Error::TooManyPins { name, limit } => Row::new(Code::ResourceExhausted, R::TooManyPins)
            .with("name", name)
            .with("limit", limit),
        Error::NotFound { resource, name } => Row::new(
            Code::NotFound,
            match resource {
                Resource::Instance => R::InstanceNotFound,
                Resource::Config => R::ConfigNotFound,
                Resource::ConfigVersion => R::ConfigVersionNotFound,
                Resource::ConfigSchema => R::ConfigSchemaNotFound,
                Resource::Service => R::ServiceNotFound,
                Resource::Namespace => R::NamespaceNotFound,
                Resource::Latch => R::LatchNotFound,
                Resource::ConfigHistory => R::ConfigHistoryPruned,
                Resource::ConfigDraft => R::ConfigDraftNotFound,
                Resource::Release => R::ReleaseNotFound,
            },
        )
        .with("name", name),
        Error::AlreadyExists {
            resource,
            name,
            holder,
        } => {
            let reason = match resource {
                Resource::Release => R::ReleaseAlreadyExists,
                _ => R::InstanceAlreadyExists,
            };
            Row::new(Code::AlreadyExists, reason)
                .with("name", name)
                .with("holder", holder)
        }
        Error::Mismatch {
            expected,
            found,
            what: Expectation::Revision,
        } => Row::new(Code::Aborted, R::RevisionMismatch)
            .with("expected_revision", expected)
            .with("current_revision", found),
        Error::Mismatch {
            expected,
            found,
            what: Expectation::Version,
        } => Row::new(Code::Aborted, R::VersionMismatch)
            .with("expected_version", expected)
            .with("current_version", found),
        Error::ChecksumMismatch { expected, found } => {
            let found = found.map_or(String::new(), |found| page::hex(&found));
            Row::new(Code::Aborted, R::ChecksumMismatch)
                .with("expected_sha256", page::hex(expected))
                .with("current_sha256", found)
        }
        Error::ConfigsChanged { keys } => {
            let first: Vec<&str> = keys.iter().map(String::as_str).take(NAMED).collect();
            Row::new(Code::Aborted, R::ConfigsChanged)
                .with("keys", first.join(" "))
                .with("count", keys.len())
        }
        Error::NotText { name } => {
            Row::new(Code::FailedPrecondition, R::ConfigNotText).with("name", name)
        }
        Error::Conflict { name } => Row::new(Code::Aborted, R::Conflict).with("name", name),
        Error::LockHeld { name, holder } => Row::new(Code::FailedPrecondition, R::LockHeld)
            .with("lock", name)
            .with("holder", holder),
        Error::LockDelayed { name, owner } => Row::new(Code::FailedPrecondition, R::LockDelayed)
            .with("lock", name)
            .with("owner", owner),
        Error::LockNotHeld { name } => {
            Row::new(Code::FailedPrecondition, R::LockNotHeld).with("lock", name)
        }
        Error::PermitsDiffer { name, total } => {
            Row::new(Code::FailedPrecondition, R::PermitsDiffer)
                .with("lock", name)
                .with("total", total)
        }
        Error::ClaimDiffers { name } => {
            Row::new(Code::FailedPrecondition, R::ClaimDiffers).with("lock", name)
        }
        Error::TooManyHolds { name, limit } => Row::new(Code::ResourceExhausted, R::TooManyHolds)
            .with("lock", name)
            .with("limit", limit),
        Error::LeaseExpired => Row::new(Code::FailedPrecondition, R::LeaseExpired),
        Error::LedByAnother { name, holder } => Row::new(Code::FailedPrecondition, R::LedByAnother)
            .with("election", name)
            .with("leader", holder),
        Error::NotLeader { name } => {
            Row::new(Code::FailedPrecondition, R::NotLeader).with("election", name)
        }
        Error::GuardFailed { queue } => {
            Row::new(Code::FailedPrecondition, R::GuardFailed).with(named(queue), queue.path())
        }
        Error::Refused(refusal) => barrier::row(refusal),
        Error::NotOwner { name } => {
            Row::new(Code::FailedPrecondition, R::InstanceNotOwned).with("name", name)
        }
        Error::TakenOver(queue) => {
            Row::new(Code::Aborted, R::HoldTakenOver).with(named(queue), queue.path())
        }
        Error::RequestUndone => Row::new(Code::FailedPrecondition, R::RequestUndone),
        Error::TooManyWaiters { queue, limit } => {
            Row::new(Code::ResourceExhausted, R::TooManyWaiters)
                .with(named(queue), queue.path())
                .with("limit", limit)
        }
        Error::TooManyReporters { name, limit } => {
            Row::new(Code::ResourceExhausted, R::TooManyReporters)
                .with("name", name)
                .with("limit", limit)
        }
        Error::SessionFull { limit } => {
            Row::new(Code::ResourceExhausted, R::SessionFull).with("limit", limit)
        }
        Error::AliasChain { name } => {
            Row::new(Code::FailedPrecondition, R::AliasChain).with("name", name)
        }
        Error::NotExported { name, namespace } => {
            Row::new(Code::FailedPrecondition, R::NotExported)
                .with("name", name)
                .with("namespace", namespace)
        }
        Error::ServiceIsAlias { name } => {
            Row::new(Code::FailedPrecondition, R::ServiceIsAlias).with("name", name)
        }
        Error::NamespaceNotEmpty { namespace, holds } => {
            Row::new(Code::FailedPrecondition, R::NamespaceNotEmpty)
                .with("namespace", namespace)
                .with("holds", holds)
        }
        Error::QuotaExceeded {
            namespace,
            quota,
            limit,
            current,
        } => Row::new(Code::ResourceExhausted, R::QuotaExceeded)
            .with("namespace", namespace)
            .with("quota", quota)
            .with("limit", limit)
            .with("current", current),
        Error::AuditPruned { first } => {
            Row::new(Code::FailedPrecondition, R::AuditPruned).with("first", first)
        }
        Error::NewerFormat { name, format } => Row::new(Code::Unavailable, R::NewerFormat)
            .with("name", name)
            .with("format", format),
        Error::ContentLost { name } => Row::new(Code::DataLoss, R::ContentLost).with("name", name),
        Error::ReplicaTooOld { replica, version } => {
            Row::new(Code::FailedPrecondition, R::ReplicaTooOld)
                .with("replica", replica)
                .with("version", version)
        }
        Error::Draining => Row::new(Code::Unavailable, R::Draining),
        Error::LocksClosed => Row::new(Code::Unavailable, R::LocksClosed).retry(),
        Error::NotReady => Row::new(Code::Unavailable, R::NotReady).retry(),
        Error::Behind(_) => Row::new(Code::Unavailable, R::RevisionNotReached).retry(),
        Error::CommitUnknown(_) => Row::new(Code::Unknown, R::CommitUnknown),
        Error::Internal(_) => Row::new(Code::Internal, R::Internal),
        Error::Store(error) => store_row(error),
    }
}

fn store_row(error: &store::Error) -> Row {
    use ErrorReason as R;
    match error {
        store::Error::Unavailable { .. } => {
            Row::new(Code::Unavailable, R::StoreUnavailable).retry()
        }
        store::Error::NoQuorum { .. } => Row::new(Code::Unavailable, R::StoreNoQuorum).retry(),
        store::Error::Timeout { .. } => Row::new(Code::DeadlineExceeded, R::DeadlineExceeded),
        store::Error::Compacted { .. } => Row::new(Code::OutOfRange, R::CursorCompacted),
        store::Error::FutureRevision => Row::new(Code::Unavailable, R::RevisionNotReached).retry(),
        store::Error::LeaseNotFound => Row::new(Code::FailedPrecondition, R::LeaseExpired),
        store::Error::Full { .. } => Row::new(Code::ResourceExhausted, R::StoreFull),
        store::Error::Overloaded(_) => {
            Row::new(Code::ResourceExhausted, R::StoreOverloaded).retry()
        }
        // The store refuses us, not the caller.
        store::Error::Denied(_) => Row::new(Code::Unavailable, R::StoreUnavailable),
        store::Error::Invalid(_) | store::Error::Corrupt(_) => {
            Row::new(Code::Internal, R::Internal)
        }
    }
}

/// What metadata calls a queue.
fn named(queue: &QueuePath) -> &'static str {
    match queue.kind {
        QueueKind::Lock => "lock",
        QueueKind::Election => "election",
    }
}

fn invalid_reason(field: &str) -> ErrorReason {
    match field.rsplit('.').next() {
        Some("page_token") => ErrorReason::InvalidPageToken,
        Some("resume_token") => ErrorReason::InvalidResumeToken,
        _ => ErrorReason::InvalidArgument,
    }
}

fn build(row: Row, message: String, mut details: ErrorDetails) -> Status {
    let metadata: HashMap<String, String> = row
        .metadata
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    details.set_error_info(row.reason.as_str_name(), DOMAIN, metadata);
    if let Some(delay) = row.retry {
        details.set_retry_info(Some(delay));
    }
    Status::with_error_details(row.code, message, details)
}

// === impl Row ===

impl Row {
    fn new(code: Code, reason: ErrorReason) -> Self {
        Self {
            code,
            reason,
            metadata: Vec::new(),
            retry: None,
        }
    }

    fn with(mut self, key: &'static str, value: impl ToString) -> Self {
        self.metadata.push((key, value.to_string()));
        self
    }

    fn retry(mut self) -> Self {
        self.retry = Some(RETRY);
        self
    }
}
