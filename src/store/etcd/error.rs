//! etcd's errors as the port's few outcomes, told apart by code and message: etcd uses one code
//! for several conditions, and a lost connection shows under several codes.

use std::error::Error as _;

use tonic::{Code, Status};

use crate::store::{Error, Outcome};

/// Why a request was not even sent.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct NotSent(#[from] pub(super) Error);

/// Classifies what the client library reports.
pub(super) fn from_client(error: etcd_client::Error) -> Error {
    use etcd_client::Error as Client;
    match error {
        Client::GRpcStatus(status) => from_status(&status),
        Client::InvalidArgs(_) | Client::InvalidUri(_) | Client::EndpointError(_) => {
            Error::Invalid(error.to_string())
        }
        // The rest breaks on the way, and does not say how far it came.
        other => unavailable(other.to_string(), Outcome::Unknown),
    }
}

/// Classifies the status of a call or of a stream.
pub(super) fn from_status(status: &Status) -> Error {
    if let Some(NotSent(error)) = cause(status) {
        return error.clone();
    }
    let message = status.message().to_owned();
    let says = |part: &str| message.contains(part);
    match status.code() {
        // A reset stream shows under the code its reason maps to, which means nothing here.
        _ if says("h2 protocol error") => unavailable(message, Outcome::Unknown),
        Code::Unavailable if says("no leader") || says("unhealthy cluster") => Error::NoQuorum {
            message,
            outcome: Outcome::NotDone,
        },
        // Proposed, perhaps, before the leader was lost.
        Code::Unavailable if says("leader changed") || says("request timed out") => {
            Error::NoQuorum {
                message,
                outcome: Outcome::Unknown,
            }
        }
        Code::Unavailable | Code::Aborted => unavailable(message, Outcome::Unknown),
        Code::DeadlineExceeded => Error::Timeout {
            outcome: Outcome::Unknown,
        },
        Code::Cancelled if says("Timeout expired") => Error::Timeout {
            outcome: Outcome::Unknown,
        },
        Code::OutOfRange if says("compacted") => Error::Compacted { oldest: 0 },
        Code::OutOfRange if says("future revision") => Error::FutureRevision,
        Code::Unauthenticated | Code::PermissionDenied => Error::Denied(message),
        _ if is_about_credentials(&message) => Error::Denied(message),
        Code::NotFound if says("lease not found") => Error::LeaseNotFound,
        // Said of what is refused at once, and of what is carried out and finds no room left.
        Code::ResourceExhausted if says("space exceeded") => Error::Full {
            message,
            outcome: Outcome::Unknown,
        },
        Code::ResourceExhausted if says("too many requests") => Error::Overloaded(message),
        Code::DataLoss => Error::Corrupt(message),
        // A connection that breaks under a call shows as any of these.
        Code::Cancelled | Code::Unknown | Code::Internal => unavailable(message, Outcome::Unknown),
        // Too large, too many, malformed, unknown to this server: repeating does not help.
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented => Error::Invalid(format!("{:?}: {message}", status.code())),
    }
}

/// Classifies why a server ended a watch.
pub(super) fn from_cancel(compact_revision: i64, reason: &str) -> Error {
    if compact_revision > 0 {
        Error::Compacted {
            oldest: compact_revision,
        }
    } else if reason.contains("compacted") {
        Error::Compacted { oldest: 0 }
    } else if reason.contains("permission denied") || is_about_credentials(reason) {
        Error::Denied(reason.to_owned())
    } else {
        unavailable(format!("watch cancelled: {reason}"), Outcome::NotDone)
    }
}

/// Says whether a grant failed because the lease is there already.
pub(super) fn is_lease_exists(error: &etcd_client::Error) -> bool {
    matches!(error, etcd_client::Error::GRpcStatus(status)
        if status.code() == Code::FailedPrecondition
            && status.message().contains("lease already exists"))
}

/// Says whether a request found no room.
pub(super) fn is_full(error: &etcd_client::Error) -> bool {
    matches!(error, etcd_client::Error::GRpcStatus(status)
        if matches!(from_status(status), Error::Full { .. }))
}

pub(super) fn unavailable(message: impl Into<String>, outcome: Outcome) -> Error {
    Error::Unavailable {
        message: message.into(),
        outcome,
    }
}

/// The same error with what all attempts together say of the outcome.
pub(super) fn with_outcome(error: Error, outcome: Outcome) -> Error {
    match error {
        Error::Unavailable { message, .. } => Error::Unavailable { message, outcome },
        Error::NoQuorum { message, .. } => Error::NoQuorum { message, outcome },
        Error::Timeout { .. } => Error::Timeout { outcome },
        Error::Full { message, .. } => Error::Full { message, outcome },
        other => other,
    }
}

/// The whole chain of causes: the outermost alone ("transport error") helps nobody.
pub(super) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        source = error.source();
    }
    text
}

/// Says whether a token may be to blame: it ended, or is of before the users changed, or is missing
/// because etcd had no users yet.
pub(super) fn is_about_token(status: &Status) -> bool {
    status.code() == Code::Unauthenticated || is_about_credentials(status.message())
}

/// Says whether no token was given because etcd has no users.
pub(super) fn is_auth_disabled(error: &etcd_client::Error) -> bool {
    matches!(error, etcd_client::Error::GRpcStatus(status)
        if status.message().contains("authentication is not enabled"))
}

fn is_about_credentials(message: &str) -> bool {
    [
        "invalid auth token",
        "revision of auth store is old",
        "user name is empty",
        "user name not found",
        "authentication failed",
    ]
    .iter()
    .any(|known| message.contains(known))
}

/// The first cause of a kind.
fn cause<E: std::error::Error + 'static>(status: &Status) -> Option<&E> {
    let mut source = status.source();
    while let Some(error) = source {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        source = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart_by_code_and_message() {
        let unknown = Outcome::Unknown;
        let cases = [
            (Code::Unavailable, "etcdserver: no leader", "quorum"),
            (Code::Unavailable, "etcdserver: leader changed", "quorum?"),
            (
                Code::Unavailable,
                "etcdserver: request timed out, possibly due to previous leader failure",
                "quorum?",
            ),
            (Code::Unavailable, "etcdserver: server stopped", "away?"),
            (Code::Unknown, "h2 protocol error: broken pipe", "away?"),
            (Code::Internal, "h2 protocol error: reset", "away?"),
            (Code::ResourceExhausted, "h2 protocol error: calm", "away?"),
            (Code::Cancelled, "connection closed", "away?"),
            (Code::Cancelled, "Timeout expired", "timeout?"),
            (
                Code::DeadlineExceeded,
                "context deadline exceeded",
                "timeout?",
            ),
            (
                Code::OutOfRange,
                "etcdserver: mvcc: required revision has been compacted",
                "compacted",
            ),
            (
                Code::OutOfRange,
                "etcdserver: mvcc: required revision is a future revision",
                "future",
            ),
            (
                Code::OutOfRange,
                "Error, decoded message length too large: found 5 bytes",
                "invalid",
            ),
            (
                Code::Unauthenticated,
                "etcdserver: invalid auth token",
                "denied",
            ),
            (Code::Unknown, "etcdserver: invalid auth token", "denied"),
            (
                Code::InvalidArgument,
                "etcdserver: revision of auth store is old",
                "denied",
            ),
            (
                Code::PermissionDenied,
                "etcdserver: permission denied",
                "denied",
            ),
            (
                Code::NotFound,
                "etcdserver: requested lease not found",
                "lease",
            ),
            (
                Code::ResourceExhausted,
                "etcdserver: mvcc: database space exceeded",
                "full?",
            ),
            (
                Code::ResourceExhausted,
                "etcdserver: too many requests",
                "overloaded",
            ),
            (
                Code::ResourceExhausted,
                "grpc: received message larger than max",
                "invalid",
            ),
            (
                Code::InvalidArgument,
                "etcdserver: duplicate key given in txn request",
                "invalid",
            ),
            (Code::DataLoss, "etcdserver: corrupt cluster", "corrupt"),
        ];
        for (code, message, expected) in cases {
            let error = from_status(&Status::new(code, message));
            let mut class = match &error {
                Error::Unavailable { .. } => "away",
                Error::NoQuorum { .. } => "quorum",
                Error::Timeout { .. } => "timeout",
                Error::Compacted { .. } => "compacted",
                Error::FutureRevision => "future",
                Error::LeaseNotFound => "lease",
                Error::Full { .. } => "full",
                Error::Overloaded(_) => "overloaded",
                Error::Denied(_) => "denied",
                Error::Invalid(_) => "invalid",
                Error::Corrupt(_) => "corrupt",
            }
            .to_owned();
            if error.outcome() == unknown {
                class.push('?');
            }
            assert_eq!(class, expected, "{code:?} {message}");
        }
    }

    #[test]
    fn a_watch_cancelled_by_compaction_says_where_history_begins() {
        assert_eq!(from_cancel(7, ""), Error::Compacted { oldest: 7 });
        assert!(matches!(
            from_cancel(0, "etcdserver: permission denied"),
            Error::Denied(_)
        ));
        assert!(from_cancel(0, "").is_transient());
    }
}
