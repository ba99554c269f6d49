//! A history in writing: an event a line, its parts between spaces, `-` for what is not there.

use std::{fmt, str::FromStr};

use super::history::{Change, Deed, Event, How, Outcome, Version};

// === impl Deed ===

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Rollback(to) => write!(f, ":{to}"),
            Self::Put | Self::Delete => Ok(()),
        }
    }
}

impl FromStr for Deed {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word.split_once(':') {
            None if word == "put" => Ok(Self::Put),
            None if word == "delete" => Ok(Self::Delete),
            Some(("rollback", to)) => parsed(to).map(Self::Rollback),
            _ => Err(format!("{word} is no deed")),
        }
    }
}

// === impl Version ===

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            key,
            number,
            deed,
            author,
            operation,
            content,
        } = self;
        let content = or_none(content.as_ref());
        write!(f, "{key} {number} {deed} {author} {operation} {content}")
    }
}

impl Version {
    fn parse(words: &[&str]) -> Result<Self, String> {
        let [key, number, deed, author, operation, content] = words else {
            return Err(format!("{words:?} is no version"));
        };
        Ok(Self {
            key: (*key).into(),
            number: parsed(number)?,
            deed: deed.parse()?,
            author: (*author).into(),
            operation: parsed(operation)?,
            content: unless_none(content),
        })
    }
}

// === impl Outcome ===

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Made(version) => write!(f, "made:{version}"),
            Self::Unchanged => f.write_str("unchanged"),
            Self::Refused => f.write_str("refused"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

impl FromStr for Outcome {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word.split_once(':') {
            Some(("made", version)) => parsed(version).map(Self::Made),
            None if word == "unchanged" => Ok(Self::Unchanged),
            None if word == "refused" => Ok(Self::Refused),
            None if word == "unknown" => Ok(Self::Unknown),
            _ => Err(format!("{word} is no outcome")),
        }
    }
}

// === impl How ===

impl How {
    const ALL: [(Self, &str); 4] = [
        (Self::Snapshot, "snapshot"),
        (Self::Delta, "delta"),
        (Self::Conflated, "conflated"),
        (Self::Current, "current"),
    ];
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = Self::ALL.iter();
        let (_, name) = all.find(|(how, _)| how == self).ok_or(fmt::Error)?;
        f.write_str(name)
    }
}

impl FromStr for How {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(_, name)| *name == word);
        found
            .map(|(how, _)| *how)
            .ok_or_else(|| format!("{word} is no way to show"))
    }
}

// === impl Change ===

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.shown {
            Some((version, content)) => write!(f, "{}@{version}={content}", self.key),
            None => write!(f, "{}@gone", self.key),
        }
    }
}

impl FromStr for Change {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let bad = || format!("{word} is no change");
        let (key, shown) = word.split_once('@').ok_or_else(bad)?;
        let shown = match shown {
            "gone" => None,
            shown => {
                let (version, content) = shown.split_once('=').ok_or_else(bad)?;
                Some((parsed(version)?, content.to_owned()))
            }
        };
        let key = key.to_owned();
        Ok(Self { key, shown })
    }
}

// === impl Event ===

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Made { revision, version } => write!(f, "made {revision} {version}"),
            Self::Kept { revision, version } => write!(f, "kept {revision} {version}"),
            Self::Head {
                key,
                version,
                content,
            } => write!(f, "head {key} {version} {}", or_none(content.as_ref())),
            Self::Audited {
                number,
                revision,
                key,
                version,
                deed,
                author,
                operation,
                before,
                after,
            } => {
                let (before, after) = (or_none(before.as_ref()), or_none(after.as_ref()));
                write!(f, "audited {number} {revision} {key} {version} {deed} ")?;
                write!(f, "{author} {operation} {before} {after}")
            }
            Self::Verified { entries } => write!(f, "verified {entries}"),
            Self::Asked {
                author,
                operation,
                key,
                deed,
                expected,
                content,
                begun,
                ended,
                outcome,
            } => {
                let (expected, content) = (or_none(expected.as_ref()), or_none(content.as_ref()));
                write!(f, "asked {author} {operation} {key} {deed} {expected} ")?;
                write!(f, "{content} {begun} {ended} {outcome}")
            }
            Self::Shown {
                watcher,
                how,
                revision,
                changes,
            } => {
                write!(f, "shown {watcher} {how} {revision}")?;
                changes.iter().try_for_each(|change| write!(f, " {change}"))
            }
        }
    }
}

impl FromStr for Event {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        parse(&words).map_err(|error| format!("{error} in the line: {line}"))
    }
}

fn parse(words: &[&str]) -> Result<Event, String> {
    Ok(match words {
        ["made", revision, version @ ..] => Event::Made {
            revision: parsed(revision)?,
            version: Version::parse(version)?,
        },
        ["kept", revision, version @ ..] => Event::Kept {
            revision: parsed(revision)?,
            version: Version::parse(version)?,
        },
        ["head", key, version, content] => Event::Head {
            key: (*key).into(),
            version: parsed(version)?,
            content: unless_none(content),
        },
        [
            "audited",
            number,
            revision,
            key,
            version,
            deed,
            author,
            operation,
            before,
            after,
        ] => Event::Audited {
            number: parsed(number)?,
            revision: parsed(revision)?,
            key: (*key).into(),
            version: parsed(version)?,
            deed: (*deed).into(),
            author: (*author).into(),
            operation: parsed(operation)?,
            before: unless_none(before),
            after: unless_none(after),
        },
        ["verified", entries] => Event::Verified {
            entries: parsed(entries)?,
        },
        [
            "asked",
            author,
            operation,
            key,
            deed,
            expected,
            content,
            begun,
            ended,
            outcome,
        ] => Event::Asked {
            author: (*author).into(),
            operation: parsed(operation)?,
            key: (*key).into(),
            deed: deed.parse()?,
            expected: unless_none(expected).map(|it| parsed(&it)).transpose()?,
            content: unless_none(content),
            begun: parsed(begun)?,
            ended: parsed(ended)?,
            outcome: outcome.parse()?,
        },
        ["shown", watcher, how, revision, changes @ ..] => Event::Shown {
            watcher: (*watcher).into(),
            how: how.parse()?,
            revision: parsed(revision)?,
            changes: changes
                .iter()
                .map(|it| it.parse())
                .collect::<Result<_, _>>()?,
        },
        _ => return Err("nothing of a history".into()),
    })
}

fn parsed<T: FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("{word} is no number"))
}

/// A word for what may not be there.
fn or_none(word: Option<&impl ToString>) -> String {
    word.map_or("-".to_owned(), ToString::to_string)
}

fn unless_none(word: &str) -> Option<String> {
    (word != "-").then(|| word.to_owned())
}
