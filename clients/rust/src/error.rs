//! What went wrong, read out of a gRPC status once.

use std::{collections::BTreeMap, fmt, time::Duration};

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{lock::LockLoss, proto::ErrorReason};

/// The `domain` of every `google.rpc.ErrorInfo` that Stanchion sends.
const DOMAIN: &str = "stanchion";

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call did not do what was asked.
///
/// [`code`](Self::code) and [`reason`](Self::reason) are for programs and do not change; the text
/// is for people and may. The reasons are described at [`ErrorReason`].
#[derive(Clone)]
pub struct Error(Box<Inner>);

/// A field of a request that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field, as the proto names it.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

#[derive(Debug, Clone)]
struct Inner {
    code: Code,
    reason: ErrorReason,
    message: String,
    violations: Vec<Violation>,
    metadata: BTreeMap<String, String>,
    retry_after: Option<Duration>,
    endpoint: Option<String>,
    origin: Origin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// A Stanchion server said so.
    Server,
    /// No server answered, or something else did.
    Transport,
    /// This crate said so, without asking.
    Client,
}

/// What a caller does after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// The same call fails in the same way.
    GiveUp,
    /// The connection was given up under the call; the next call gets a new one.
    SameEndpointAtOnce,
    /// Another try may do, anywhere.
    Repeat,
    /// This endpoint cannot help at the moment.
    OtherEndpoint,
}

// === impl Error ===

impl Error {
    /// The gRPC status code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// What went wrong, for programs. [`ErrorReason::Unspecified`] if no Stanchion server answered,
    /// or one that is newer and has more reasons.
    pub fn reason(&self) -> ErrorReason {
        self.0.reason
    }

    /// What went wrong, for people.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The fields of the request that break a rule.
    pub fn violations(&self) -> &[Violation] {
        &self.0.violations
    }

    /// What the message mentions, by name, such as `current_version`.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.0.metadata
    }

    /// How long the server asks to wait before the next try.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The endpoint that was asked.
    pub fn endpoint(&self) -> Option<&str> {
        self.0.endpoint.as_deref()
    }

    /// Says whether no Stanchion server answered.
    pub fn is_unreachable(&self) -> bool {
        self.0.origin == Origin::Transport
    }

    /// Says whether the same call, with the same `request_id`, may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.next() != Next::GiveUp
    }

    pub(crate) fn invalid(field: &str, description: impl Into<String>) -> Self {
        let description = description.into();
        let mut error = Self::client(
            Code::InvalidArgument,
            ErrorReason::InvalidArgument,
            format!("{field}: {description}"),
        );
        error.0.violations.push(Violation {
            field: field.into(),
            description,
        });
        error
    }

    /// The session is gone, and with it what it held.
    pub(crate) fn session_lost() -> Self {
        Self::client(
            Code::FailedPrecondition,
            ErrorReason::LeaseExpired,
            "the session is gone".into(),
        )
    }

    /// A lock was lost before the work under it was done.
    pub(crate) fn lock_lost(lock: &str, loss: LockLoss) -> Self {
        Self::client(
            Code::FailedPrecondition,
            ErrorReason::LockNotHeld,
            format!("lock {lock} was lost: {loss:?}"),
        )
    }

    /// The deadline of the call has passed without an answer.
    pub(crate) fn deadline(after: Duration) -> Self {
        let mut error = Self::client(
            Code::DeadlineExceeded,
            ErrorReason::DeadlineExceeded,
            format!("no answer within {after:?}"),
        );
        error.0.origin = Origin::Transport;
        error
    }

    /// A stream was silent for so long that its server counts as dead.
    pub(crate) fn silent(after: Duration) -> Self {
        let mut error = Self::client(
            Code::Unavailable,
            ErrorReason::Unspecified,
            format!("the stream was silent for {after:?}"),
        );
        error.0.origin = Origin::Transport;
        error
    }

    /// The server answered something that breaks the contract.
    pub(crate) fn contract(what: &str) -> Self {
        Self::client(
            Code::Internal,
            ErrorReason::Internal,
            format!("the server's answer has no {what}"),
        )
    }

    pub(crate) fn client(code: Code, reason: ErrorReason, message: String) -> Self {
        Self(Box::new(Inner {
            code,
            reason,
            message,
            violations: Vec::new(),
            metadata: BTreeMap::new(),
            retry_after: None,
            endpoint: None,
            origin: Origin::Client,
        }))
    }

    /// Says one thing more.
    pub(crate) fn with_note(mut self, note: &str) -> Self {
        self.0.message = format!("{}; {note}", self.0.message);
        self
    }

    pub(crate) fn at(mut self, endpoint: &str) -> Self {
        self.0.endpoint = Some(endpoint.into());
        self
    }

    pub(crate) fn next(&self) -> Next {
        match (self.0.origin, self.0.code, self.0.reason) {
            // Never sent, because the connection was closing: safe, and the next call reconnects.
            (Origin::Transport, Code::Cancelled, _) => Next::SameEndpointAtOnce,
            (Origin::Transport, Code::DeadlineExceeded, _) => Next::OtherEndpoint,
            // The answer got lost. Every call of this crate can be repeated.
            (Origin::Transport, Code::Unknown | Code::Unavailable | Code::Internal, _) => {
                Next::OtherEndpoint
            }
            // The same everywhere.
            (Origin::Server, _, ErrorReason::LocksClosed) => Next::Repeat,
            (Origin::Server, Code::Unavailable, _) => Next::OtherEndpoint,
            (Origin::Server, _, ErrorReason::TooManyStreams) => Next::OtherEndpoint,
            (Origin::Server, _, ErrorReason::CommitUnknown | ErrorReason::StoreOverloaded) => {
                Next::Repeat
            }
            (_, _, _) => Next::GiveUp,
        }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let info = status
            .get_details_error_info()
            .filter(|info| info.domain == DOMAIN);
        let violations = status
            .get_details_bad_request()
            .into_iter()
            .flat_map(|details| details.field_violations)
            .map(|violation| Violation {
                field: violation.field,
                description: violation.description,
            })
            .collect();
        // A status with a source was made on this side, from a broken connection. Whoever says
        // UNAVAILABLE without a reason is a proxy, not a Stanchion server.
        let broken = std::error::Error::source(&status).is_some();
        let origin = match (&info, status.code()) {
            (Some(_), _) => Origin::Server,
            (None, Code::Unavailable) => Origin::Transport,
            (None, _) if broken => Origin::Transport,
            (None, _) => Origin::Server,
        };
        // tonic's own timer answers CANCELLED.
        let expired = origin == Origin::Transport
            && status.code() == Code::Cancelled
            && status.message().contains("Timeout expired");
        let (reason, metadata) = info
            .map(|info| {
                (
                    ErrorReason::from_str_name(&info.reason).unwrap_or_default(),
                    info.metadata.into_iter().collect(),
                )
            })
            .unwrap_or_default();
        if expired {
            let mut error = Self::client(
                Code::DeadlineExceeded,
                ErrorReason::DeadlineExceeded,
                "no answer in time".into(),
            );
            error.0.origin = origin;
            return error;
        }
        Self(Box::new(Inner {
            code: status.code(),
            reason,
            message: describe(&status),
            violations,
            metadata,
            retry_after: status
                .get_details_retry_info()
                .and_then(|info| info.retry_delay),
            endpoint: None,
            origin,
        }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if let (Some(endpoint), Origin::Transport) = (&self.0.endpoint, self.0.origin) {
            write!(f, " ({endpoint})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {}

/// The status' message, with the deepest cause when it was made on this side: tonic's own text
/// says no more than "transport error".
fn describe(status: &Status) -> String {
    let mut cause = std::error::Error::source(status);
    let mut deepest = None;
    while let Some(error) = cause {
        deepest = Some(error.to_string());
        cause = error.source();
    }
    match (status.message(), deepest) {
        ("", None) => format!("{:?}", status.code()),
        ("", Some(cause)) => cause,
        (message, Some(cause)) if !message.contains(&cause) => format!("{message}: {cause}"),
        (message, _) => message.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn an_error_tells_reason_fields_and_when_to_retry() {
        let mut details = ErrorDetails::new();
        details
            .set_error_info(
                "ERROR_REASON_INVALID_ARGUMENT",
                DOMAIN,
                HashMap::from([("a".to_owned(), "b".to_owned())]),
            )
            .set_retry_info(Some(Duration::from_millis(5)))
            .add_bad_request_violation("ttl", "is too short");
        let status = Status::with_error_details(Code::InvalidArgument, "ttl: short", details);

        let error = Error::from(status);

        assert_eq!(error.code(), Code::InvalidArgument);
        assert_eq!(error.reason(), ErrorReason::InvalidArgument);
        assert_eq!(error.violations()[0].field, "ttl");
        assert_eq!(error.metadata()["a"], "b");
        assert_eq!(error.retry_after(), Some(Duration::from_millis(5)));
        assert!(!error.is_retryable());
        assert!(!error.is_unreachable());
    }

    #[test]
    fn a_status_without_our_details_is_not_from_a_stanchion_server() {
        let error = Error::from(Status::unavailable("no healthy upstream"));
        assert!(error.is_unreachable());
        assert_eq!(error.reason(), ErrorReason::Unspecified);
        assert_eq!(error.next(), Next::OtherEndpoint);
    }

    #[test]
    fn an_unknown_outcome_is_repeated_and_a_refusal_is_not() {
        let of = |code, reason| {
            let mut details = ErrorDetails::new();
            details.set_error_info(reason, DOMAIN, HashMap::new());
            Error::from(Status::with_error_details(code, "", details)).next()
        };
        assert_eq!(
            of(Code::Unknown, "ERROR_REASON_COMMIT_UNKNOWN"),
            Next::Repeat
        );
        assert_eq!(
            of(Code::Unavailable, "ERROR_REASON_LOCKS_CLOSED"),
            Next::Repeat
        );
        assert_eq!(
            of(Code::Unavailable, "ERROR_REASON_DRAINING"),
            Next::OtherEndpoint
        );
        assert_eq!(
            of(Code::FailedPrecondition, "ERROR_REASON_LOCK_HELD"),
            Next::GiveUp
        );
        assert_eq!(
            of(Code::Aborted, "ERROR_REASON_VERSION_MISMATCH"),
            Next::GiveUp
        );
    }
}
