//! Did configs keep what they promise? The versions of each key, in the order of the store, are 1,
//! 2, 3 and so on; whatever anybody was told or shown is compared with them.

use std::{collections::BTreeMap, fmt};

use super::{
    afterwards, answers,
    history::{Deed, Event, Outcome, Version},
    watchers,
};

/// One broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub kind: Kind,
    /// What is wrong, in a sentence.
    pub says: String,
}

/// Which promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A version number that was left out.
    Hole,
    /// A version that is there twice, or an operation that made two.
    Double,
    /// Versions that came in another order than their numbers say, or than they were asked for.
    Order,
    /// A version that was acknowledged and is not there.
    Lost,
    /// A version does not say what was asked for, or not what the store has.
    Content,
    /// A version that was refused, or that nobody asked for.
    Undead,
    /// A compare-and-swap that overwrote what it had not seen.
    Swap,
    /// A commit of which a part was made, or not at once.
    Torn,
    /// A config is not its last version.
    Head,
    /// The audit does not tell the versions.
    Audit,
    /// A watcher was shown something else than what happened, or missed something.
    Watch,
}

/// What a history amounts to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    pub versions: usize,
    /// Changes that clients asked for.
    pub asked: usize,
    /// Compare-and-swaps among them.
    pub swaps: usize,
    /// Those of them that were made.
    pub swapped: usize,
    pub refused: usize,
    pub unknown: usize,
    pub commits: usize,
    pub watchers: usize,
    pub deltas: usize,
    pub conflated: usize,
}

/// A version that the store has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Made<'a> {
    pub(super) revision: i64,
    pub(super) version: &'a Version,
}

/// All versions that the store has.
#[derive(Default)]
pub(super) struct Truth<'a> {
    /// Of each key, in the order of the store.
    pub(super) keys: BTreeMap<&'a str, Vec<Made<'a>>>,
    pub(super) revisions: BTreeMap<i64, Vec<Made<'a>>>,
    operations: BTreeMap<u64, Vec<Made<'a>>>,
}

/// Checks a history.
pub fn check(events: &[Event]) -> Result<Summary, Vec<Violation>> {
    let mut found = Vec::new();
    let truth = Truth::of(events);
    truth.check(&mut found);
    answers::check(&truth, events, &mut found);
    afterwards::check(&truth, events, &mut found);
    let mut summary = Summary {
        versions: truth.revisions.values().map(Vec::len).sum(),
        ..Summary::default()
    };
    watchers::check(&truth, events, &mut found, &mut summary);
    for event in events {
        let Event::Asked {
            expected, outcome, ..
        } = event
        else {
            continue;
        };
        summary.asked += 1;
        summary.swaps += usize::from(expected.is_some());
        let swapped = expected.is_some() && matches!(outcome, Outcome::Made(_));
        summary.swapped += usize::from(swapped);
        summary.refused += usize::from(*outcome == Outcome::Refused);
        summary.unknown += usize::from(*outcome == Outcome::Unknown);
    }
    let together = truth.operations.values().filter(|made| made.len() > 1);
    summary.commits = together.count();
    match found.is_empty() {
        true => Ok(summary),
        false => Err(found),
    }
}

// === impl Violation ===

impl Violation {
    pub(super) fn new(kind: Kind, says: impl Into<String>) -> Self {
        let says = says.into();
        Self { kind, says }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.says)
    }
}

// === impl Truth ===

impl<'a> Truth<'a> {
    fn of(events: &'a [Event]) -> Self {
        let mut all: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                Event::Made { revision, version } => Some(Made {
                    revision: *revision,
                    version,
                }),
                _ => None,
            })
            .collect();
        all.sort_by_key(|made| made.revision);
        let mut truth = Self::default();
        for made in all {
            let Version { key, operation, .. } = made.version;
            truth.keys.entry(key).or_default().push(made);
            truth.revisions.entry(made.revision).or_default().push(made);
            truth.operations.entry(*operation).or_default().push(made);
        }
        truth
    }

    /// What an operation made of a key.
    pub(super) fn made_by(&self, operation: u64, key: &str) -> Option<Made<'a>> {
        let made = self.operations.get(&operation)?;
        made.iter().copied().find(|made| made.version.key == key)
    }

    /// A version of a key.
    pub(super) fn version(&self, key: &str, number: i64) -> Option<Made<'a>> {
        let made = self.keys.get(key)?;
        made.iter()
            .copied()
            .find(|made| made.version.number == number)
    }

    /// The content of a version; none if it is a deletion or not there.
    pub(super) fn content(&self, key: &str, number: i64) -> Option<&'a str> {
        self.version(key, number)?.version.content.as_deref()
    }

    fn check(&self, found: &mut Vec<Violation>) {
        for (key, versions) in &self.keys {
            let mut last = 0;
            for made in versions {
                let number = made.version.number;
                let kind = match number - last {
                    1 => None,
                    2.. => Some(Kind::Hole),
                    0 => Some(Kind::Double),
                    _ => Some(Kind::Order),
                };
                if let Some(kind) = kind {
                    let says = format!("{key} has {number} at {} after {last}", made.revision);
                    found.push(Violation::new(kind, says));
                }
                last = last.max(number);
                self.check_copy(made.version, found);
            }
        }
        for (operation, made) in &self.operations {
            let mut keys: Vec<_> = made.iter().map(|made| &made.version.key).collect();
            keys.sort_unstable();
            if keys.windows(2).any(|two| two[0] == two[1]) {
                let says = format!("operation {operation} was made twice");
                found.push(Violation::new(Kind::Double, says));
            }
        }
    }

    /// A rollback says what its source does; a deletion says nothing, and nothing else does.
    fn check_copy(&self, version: &Version, found: &mut Vec<Violation>) {
        let Version { key, content, .. } = version;
        let good = match version.deed {
            Deed::Put => content.is_some(),
            Deed::Delete => content.is_none(),
            Deed::Rollback(to) => {
                let source = self.content(key, to).filter(|_| to < version.number);
                source.is_some() && source == content.as_deref()
            }
        };
        if !good {
            let says = format!("{version} does not say what a {} must", version.deed);
            found.push(Violation::new(Kind::Content, says));
        }
    }
}
