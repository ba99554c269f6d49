//! What happened to locks and to the counters that their holders keep, an event a line.

use std::{fmt, str::FromStr};

/// What a history is made of. What the store did comes in its order; what clients were told in any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The store has a new claim on a lock.
    Queued {
        revision: i64,
        lock: String,
        token: i64,
        mode: Mode,
    },
    /// It has it no longer.
    Left {
        revision: i64,
        lock: String,
        token: i64,
    },
    /// It has a new version of a lock's counter, written by an operation.
    Counted {
        revision: i64,
        lock: String,
        version: i64,
        count: i64,
        token: i64,
        operation: u64,
    },
    /// A client was told, as of a revision, that it holds a lock.
    Granted {
        client: usize,
        lock: String,
        token: i64,
        revision: i64,
    },
    /// A client was told that it released a lock.
    Released {
        client: usize,
        lock: String,
        token: i64,
    },
    /// A client tried to count under a lock. With one it knew that it holds no longer, it is stale.
    Increment {
        client: usize,
        lock: String,
        token: i64,
        operation: u64,
        stale: bool,
        outcome: Outcome,
    },
}

/// How a lock is claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// For oneself.
    Exclusive,
    /// Together with others that share it.
    Shared,
    /// So many of so many permits.
    Permits { count: u32, total: u32 },
}

/// What a client was told of an increment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It made this version.
    Accepted(i64),
    Refused,
    Unknown,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exclusive => f.write_str("exclusive"),
            Self::Shared => f.write_str("shared"),
            Self::Permits { count, total } => write!(f, "{count}/{total}"),
        }
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let permits = |(count, total): (&str, &str)| {
            Some(Self::Permits {
                count: count.parse().ok()?,
                total: total.parse().ok()?,
            })
        };
        match word {
            "exclusive" => Ok(Self::Exclusive),
            "shared" => Ok(Self::Shared),
            _ => word
                .split_once('/')
                .and_then(permits)
                .ok_or_else(|| format!("{word} is no way to claim a lock")),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queued {
                revision,
                lock,
                token,
                mode,
            } => write!(f, "queued {revision} {lock} {token} {mode}"),
            Self::Left {
                revision,
                lock,
                token,
            } => write!(f, "left {revision} {lock} {token}"),
            Self::Counted {
                revision,
                lock,
                version,
                count,
                token,
                operation,
            } => write!(
                f,
                "counted {revision} {lock} {version} {count} {token} {operation}"
            ),
            Self::Granted {
                client,
                lock,
                token,
                revision,
            } => write!(f, "granted {client} {lock} {token} {revision}"),
            Self::Released {
                client,
                lock,
                token,
            } => write!(f, "released {client} {lock} {token}"),
            Self::Increment {
                client,
                lock,
                token,
                operation,
                stale,
                outcome,
            } => {
                write!(f, "increment {client} {lock} {token} {operation} {stale} ")?;
                match outcome {
                    Outcome::Accepted(version) => write!(f, "accepted:{version}"),
                    Outcome::Refused => f.write_str("refused"),
                    Outcome::Unknown => f.write_str("unknown"),
                }
            }
        }
    }
}

impl FromStr for Event {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        fn number<T: FromStr>(text: &str, line: &str) -> Result<T, String> {
            text.parse()
                .map_err(|_| format!("{text} in the line: {line}"))
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        Ok(match words.as_slice() {
            ["queued", revision, lock, token, mode] => Self::Queued {
                revision: number(revision, line)?,
                lock: (*lock).into(),
                token: number(token, line)?,
                mode: mode.parse()?,
            },
            ["left", revision, lock, token] => Self::Left {
                revision: number(revision, line)?,
                lock: (*lock).into(),
                token: number(token, line)?,
            },
            ["counted", revision, lock, version, count, token, operation] => Self::Counted {
                revision: number(revision, line)?,
                lock: (*lock).into(),
                version: number(version, line)?,
                count: number(count, line)?,
                token: number(token, line)?,
                operation: number(operation, line)?,
            },
            ["granted", client, lock, token, revision] => Self::Granted {
                client: number(client, line)?,
                lock: (*lock).into(),
                token: number(token, line)?,
                revision: number(revision, line)?,
            },
            ["released", client, lock, token] => Self::Released {
                client: number(client, line)?,
                lock: (*lock).into(),
                token: number(token, line)?,
            },
            ["increment", client, lock, token, operation, stale, outcome] => Self::Increment {
                client: number(client, line)?,
                lock: (*lock).into(),
                token: number(token, line)?,
                operation: number(operation, line)?,
                stale: number(stale, line)?,
                outcome: match outcome.split_once(':') {
                    Some(("accepted", version)) => Outcome::Accepted(number(version, line)?),
                    None if *outcome == "refused" => Outcome::Refused,
                    None if *outcome == "unknown" => Outcome::Unknown,
                    _ => return Err(format!("{outcome} in the line: {line}")),
                },
            },
            _ => return Err(format!("not a line of a history: {line}")),
        })
    }
}
