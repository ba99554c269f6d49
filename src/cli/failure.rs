//! A command that failed: one line that says what, why and what to do.

use std::{fmt, io};

use serde_json::json;
use stanchion_client::{Code, Error, proto::ErrorReason};

use super::exit::Exit;

#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    message: String,
    code: Option<Code>,
    reason: ErrorReason,
    fields: Vec<String>,
    hint: Option<&'static str>,
}

// === impl Failure ===

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            code: None,
            reason: ErrorReason::Unspecified,
            fields: Vec::new(),
            hint: None,
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub(crate) fn with_exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// Says first what it happened to.
    pub(crate) fn about(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    pub(crate) fn reason(&self) -> ErrorReason {
        self.reason
    }

    /// Says it on standard error. Nobody reading any more is no reason to say more.
    #[allow(clippy::print_stderr)]
    pub(crate) fn report(&self, json: bool) {
        // The reader of our output went away, as `head` does.
        if self.exit == Exit::Ok {
            return;
        }
        if json {
            eprintln!(
                "{}",
                json!({"error": {
                    "message": self.message,
                    "code": self.code.map(name_of),
                    "reason": self.reason_name(),
                    "fields": self.fields,
                    "hint": self.hint,
                }})
            );
        } else {
            eprintln!("stanchion: {self}");
        }
    }

    fn reason_name(&self) -> Option<&'static str> {
        (self.reason != ErrorReason::Unspecified).then(|| short(self.reason))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(code) = self.code {
            write!(f, " [{}", name_of(code))?;
            if let Some(reason) = self.reason_name().filter(|name| *name != name_of(code)) {
                write!(f, " {reason}")?;
            }
            f.write_str("]")?;
        }
        if !self.fields.is_empty() {
            write!(f, " field: {}", self.fields.join(", "))?;
        }
        match self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match error.code() {
            Code::InvalidArgument | Code::OutOfRange => Exit::Usage,
            Code::NotFound => Exit::NotFound,
            Code::AlreadyExists | Code::Aborted => Exit::Conflict,
            Code::Unavailable => Exit::Unreachable,
            Code::DeadlineExceeded => Exit::TimedOut,
            Code::FailedPrecondition => match error.reason() {
                ErrorReason::LockHeld
                | ErrorReason::LockDelayed
                | ErrorReason::LockNotHeld
                | ErrorReason::LedByAnother
                | ErrorReason::NotLeader
                | ErrorReason::BarrierNotReleased
                | ErrorReason::BarrierPartiesDiffer
                | ErrorReason::LatchNotOpen
                | ErrorReason::GuardFailed
                | ErrorReason::InstanceNotOwned => Exit::Conflict,
                ErrorReason::LeaseExpired => Exit::Lost,
                ErrorReason::LatchGone => Exit::NotFound,
                _ => Exit::Failed,
            },
            _ => Exit::Failed,
        };
        Self {
            exit,
            hint: hint(&error),
            message: error.to_string(),
            code: Some(error.code()),
            reason: error.reason(),
            fields: error
                .violations()
                .iter()
                .map(|violation| violation.field.clone())
                .collect(),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Exit::Ok, String::new()),
            _ => Self::new(Exit::Failed, error.to_string()),
        }
    }
}

/// What to do about it.
fn hint(error: &Error) -> Option<&'static str> {
    use ErrorReason as Reason;

    if error.is_unreachable() && error.code() != Code::DeadlineExceeded {
        return Some("start one with `stanchion serve`, or say where it is with --endpoint");
    }
    Some(match error.reason() {
        Reason::InvalidArgument => "see --help for what is allowed",
        Reason::ConfigNotFound => "`stanchion config list` shows what there is",
        Reason::ConfigVersionNotFound => "`stanchion config history KEY` shows what there is",
        Reason::ContentLost => "restore the store from a copy, or put the content again",
        Reason::ReplicaTooOld => "upgrade that replica, then retry",
        Reason::InstanceNotFound => "`stanchion instances SERVICE --all` shows what there is",
        Reason::ServiceNotFound => "`stanchion services` shows what there is",
        Reason::NamespaceNotFound | Reason::QuotaExceeded => {
            "`stanchion namespaces` shows what there is, and what may be"
        }
        Reason::NotExported => "let it: `stanchion service put SERVICE --export-to NAMESPACE`",
        Reason::ServiceIsAlias => "`stanchion service get SERVICE` shows of which one",
        Reason::InstanceAlreadyExists => "use another --id, or --takeover",
        Reason::VersionMismatch | Reason::RevisionMismatch => "read it again, then retry",
        Reason::Conflict | Reason::StoreOverloaded => "retry",
        Reason::LockHeld => "`stanchion locks` shows who holds it; --wait 10s waits",
        Reason::LockDelayed => "its holder died a moment ago; --wait 1m waits",
        Reason::LedByAnother => "`stanchion leader ELECTION` shows who leads; --wait 10s waits",
        Reason::BarrierNotReleased => {
            "`stanchion barriers show BARRIER` shows who is there; --wait 1m waits"
        }
        Reason::BarrierPartiesDiffer => "`stanchion barriers show BARRIER` shows what others say",
        Reason::LatchNotFound => "`stanchion latch list` shows what there is",
        Reason::LatchNotOpen => "`stanchion latch get LATCH` shows who has counted it down",
        Reason::LatchDiffers => "use its count, or delete it first",
        Reason::LocksClosed => "the store lost data a moment ago; --wait 1m waits",
        Reason::GuardFailed => {
            "the lock is not held, or the election not led, any more: nothing was changed"
        }
        Reason::LeaseExpired => "the session is gone: start over",
        Reason::StoreFull => "call an operator: the store accepts only deletions",
        Reason::StoreUnavailable | Reason::StoreNoQuorum | Reason::NotReady => {
            "the server is up and its store is not: `stanchion doctor` tells more"
        }
        Reason::Draining => "the replica is shutting down: retry, or use another --endpoint",
        Reason::CommitUnknown => "it may or may not have happened: look, then retry",
        Reason::DeadlineExceeded => {
            "a change may or may not have happened; `stanchion doctor` tells what is slow"
        }
        Reason::Internal => "this is a bug: please report it",
        _ => return None,
    })
}

/// The reason without the prefix that all have.
fn short(reason: ErrorReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix("ERROR_REASON_").unwrap_or(name)
}

/// The code as gRPC spells it.
fn name_of(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
