//! Histories as text: an event a line.

use std::{fmt, str::FromStr};

use super::history::{Cause, Event, Mode, News, Outcome, Went};

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
                delay,
            } => {
                write!(f, "queued {revision} {lock} {token} {mode}")?;
                delay.map_or(Ok(()), |delay| write!(f, " {delay}"))
            }
            Self::Left {
                revision,
                lock,
                token,
                went,
            } => {
                write!(f, "left {revision} {lock} {token}")?;
                match went {
                    None => Ok(()),
                    Some(Went { at, with_session }) => write!(f, " {at} {with_session}"),
                }
            }
            Self::Over {
                revision,
                lock,
                token,
                at,
            } => write!(f, "over {revision} {lock} {token} {at}"),
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
                freed,
            } => {
                write!(f, "released {client} {lock} {token}")?;
                freed.map_or(Ok(()), |freed| write!(f, " {freed}"))
            }
            Self::Heard {
                client,
                lock,
                request,
                stream,
                at,
                news,
            } => write!(f, "heard {client} {lock} {request} {stream} {at} {news}"),
            Self::Believed {
                client,
                lock,
                token,
                from,
                to,
            } => write!(f, "believed {client} {lock} {token} {from} {to}"),
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
        let words: Vec<&str> = line.split_whitespace().collect();
        Ok(match words.as_slice() {
            ["queued", revision, lock, token, mode, delay @ ..] if delay.len() <= 1 => {
                Self::Queued {
                    revision: number(revision, line)?,
                    lock: (*lock).into(),
                    token: number(token, line)?,
                    mode: mode.parse()?,
                    delay: optional(delay, line)?,
                }
            }
            ["left", revision, lock, token, went @ ..] if matches!(went.len(), 0 | 2) => {
                Self::Left {
                    revision: number(revision, line)?,
                    lock: (*lock).into(),
                    token: number(token, line)?,
                    went: match went {
                        [at, with_session] => Some(Went {
                            at: number(at, line)?,
                            with_session: number(with_session, line)?,
                        }),
                        _ => None,
                    },
                }
            }
            ["over", revision, lock, token, at] => Self::Over {
                revision: number(revision, line)?,
                lock: (*lock).into(),
                token: number(token, line)?,
                at: number(at, line)?,
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
            ["released", client, lock, token, freed @ ..] if freed.len() <= 1 => Self::Released {
                client: number(client, line)?,
                lock: (*lock).into(),
                token: number(token, line)?,
                freed: optional(freed, line)?,
            },
            ["heard", client, lock, request, stream, at, news] => Self::Heard {
                client: number(client, line)?,
                lock: (*lock).into(),
                request: number(request, line)?,
                stream: number(stream, line)?,
                at: number(at, line)?,
                news: news.parse()?,
            },
            ["believed", client, lock, token, from, to] => Self::Believed {
                client: number(client, line)?,
                lock: (*lock).into(),
                token: number(token, line)?,
                from: number(from, line)?,
                to: number(to, line)?,
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

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opens => f.write_str("opens"),
            Self::Queued {
                token,
                position,
                waiting,
                revision,
            } => write!(f, "queued:{token}:{position}:{waiting}:{revision}"),
            Self::Acquired {
                token,
                revision,
                valid_for,
            } => {
                write!(f, "acquired:{token}:{revision}")?;
                valid_for.map_or(Ok(()), |time| write!(f, ":{time}"))
            }
            Self::Contended { waiting, revision } => write!(f, "contended:{waiting}:{revision}"),
            Self::Lost {
                token,
                revision,
                cause,
            } => {
                let cause = match cause {
                    Cause::Session => "session",
                    Cause::Removed => "removed",
                    Cause::Other => "other",
                };
                write!(f, "lost:{token}:{revision}:{cause}")
            }
            Self::Breaks { keep } => write!(f, "breaks:{keep}"),
            Self::Drops => f.write_str("drops"),
            Self::Releases => f.write_str("releases"),
            Self::Fails => f.write_str("fails"),
            Self::Ends => f.write_str("ends"),
        }
    }
}

impl FromStr for News {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let parts: Vec<&str> = word.split(':').collect();
        Ok(match parts.as_slice() {
            ["opens"] => Self::Opens,
            ["queued", token, position, waiting, revision] => Self::Queued {
                token: number(token, word)?,
                position: number(position, word)?,
                waiting: number(waiting, word)?,
                revision: number(revision, word)?,
            },
            ["acquired", token, revision, valid_for @ ..] if valid_for.len() <= 1 => {
                Self::Acquired {
                    token: number(token, word)?,
                    revision: number(revision, word)?,
                    valid_for: optional(valid_for, word)?,
                }
            }
            ["contended", waiting, revision] => Self::Contended {
                waiting: number(waiting, word)?,
                revision: number(revision, word)?,
            },
            ["lost", token, revision, cause] => Self::Lost {
                token: number(token, word)?,
                revision: number(revision, word)?,
                cause: match *cause {
                    "session" => Cause::Session,
                    "removed" => Cause::Removed,
                    "other" => Cause::Other,
                    _ => return Err(format!("{cause} is no cause: {word}")),
                },
            },
            ["breaks", keep] => Self::Breaks {
                keep: number(keep, word)?,
            },
            ["drops"] => Self::Drops,
            ["releases"] => Self::Releases,
            ["fails"] => Self::Fails,
            ["ends"] => Self::Ends,
            _ => return Err(format!("not what a stream says: {word}")),
        })
    }
}

fn number<T: FromStr>(text: &str, line: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("{text} in the line: {line}"))
}

/// The only one of these words, if there is one.
fn optional<T: FromStr>(words: &[&str], line: &str) -> Result<Option<T>, String> {
    words.first().map(|word| number(word, line)).transpose()
}
