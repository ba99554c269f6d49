//! Exit codes: one table, which `--help` shows.

use std::process::{ExitCode, ExitStatus};

use rustix::process::Signal;

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Ok,
    Failed,
    Usage,
    NotFound,
    Conflict,
    Lost,
    Laggards,
    Different,
    Tampered,
    Unreachable,
    TimedOut,
    NotExecutable,
    NoSuchCommand,
    /// Whatever the child said.
    Child(u8),
}

/// What each code means.
const TABLE: [(Exit, &str); 13] = [
    (Exit::Ok, "done"),
    (
        Exit::Failed,
        "the server refused or failed, or something is wrong",
    ),
    (
        Exit::Usage,
        "wrong usage, or the server finds an argument invalid",
    ),
    (Exit::NotFound, "no such instance, config, version or latch"),
    (
        Exit::Conflict,
        "held or owned by another, or changed meanwhile",
    ),
    (
        Exit::Lost,
        "the lock, lead or registration was lost while in use",
    ),
    (
        Exit::Laggards,
        "drained, but not every subscriber knew of it at the deadline",
    ),
    (
        Exit::Different,
        "configs differ from the files, and were left so",
    ),
    (
        Exit::Tampered,
        "an entry of the audit was altered, removed or inserted",
    ),
    (Exit::Unreachable, "no server or no store answers"),
    (Exit::TimedOut, "not done in time"),
    (Exit::NotExecutable, "the command after `--` cannot be run"),
    (Exit::NoSuchCommand, "the command after `--` does not exist"),
];

// === impl Exit ===

impl Exit {
    /// The exit code of a child: its own, or 128 + the signal that ended it, as shells have it.
    pub(crate) fn of_child(status: ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt;

        let code = match (status.code(), status.signal()) {
            (Some(code), _) => code,
            (None, Some(signal)) => 128 + signal,
            (None, None) => 1,
        };
        Self::Child(u8::try_from(code).unwrap_or(1))
    }

    /// The exit code of a program that a signal ended.
    pub(crate) fn of_signal(signal: Signal) -> Self {
        Self::Child(u8::try_from(128 + signal.as_raw()).unwrap_or(1))
    }

    fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Conflict => 4,
            Self::Lost => 5,
            Self::Laggards => 6,
            Self::Different => 7,
            Self::Tampered => 8,
            Self::Unreachable => 69,
            Self::TimedOut => 124,
            Self::NotExecutable => 126,
            Self::NoSuchCommand => 127,
            Self::Child(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// The table as text.
pub(crate) fn table() -> String {
    let rows = TABLE.map(|(exit, meaning)| format!("  {:>3}  {meaning}\n", exit.code()));
    format!(
        "Exit codes:\n{}  Commands that run another one after `--` exit as it does, with 128 + N if\n  \
         signal N ended it. `serve` has codes of its own: 64 bad settings, 70 internal.\n\n\
         Environment:\n  \
         STANCHION_ENDPOINT   where the server is, or several separated by commas; also\n  \
         STANCHION_ENDPOINTS\n  \
         STANCHION_NAMESPACE  namespace of all requests",
        rows.concat()
    )
}
