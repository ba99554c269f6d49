//! What clients were told: what was acknowledged was made as it was asked for, what was refused was
//! not, and nobody knows better of the rest than that it was made once or not at all.

use std::collections::BTreeMap;

use super::{
    check::{Kind, Made, Truth, Violation},
    history::{Deed, Event, Outcome, Version},
};

/// A change that a client asked for.
struct Asked<'a> {
    author: &'a str,
    operation: u64,
    key: &'a str,
    deed: Deed,
    expected: Option<i64>,
    content: Option<&'a str>,
    begun: u64,
    /// Never, if nobody knows what came of it.
    ended: u64,
    outcome: Outcome,
}

pub(super) fn check(truth: &Truth<'_>, events: &[Event], found: &mut Vec<Violation>) {
    let all: Vec<_> = events.iter().filter_map(Asked::of).collect();
    let mut operations: BTreeMap<u64, Vec<&Asked<'_>>> = BTreeMap::new();
    for asked in &all {
        asked.check(truth, found);
        operations.entry(asked.operation).or_default().push(asked);
    }
    for (operation, asked) in &operations {
        check_whole(truth, *operation, asked, found);
    }
    for versions in truth.keys.values() {
        check_order(versions, &operations, found);
    }
}

/// Changes that were asked for together were made together.
fn check_whole(
    truth: &Truth<'_>,
    operation: u64,
    asked: &[&Asked<'_>],
    found: &mut Vec<Violation>,
) {
    let wanted = asked
        .iter()
        .filter(|asked| asked.outcome != Outcome::Unchanged);
    let mut revisions: Vec<_> = wanted
        .map(|asked| {
            truth
                .made_by(operation, asked.key)
                .map(|made| made.revision)
        })
        .collect();
    revisions.dedup();
    if revisions.len() > 1 {
        let says = format!("operation {operation} was made at {revisions:?}");
        found.push(Violation::new(Kind::Torn, says));
    }
}

/// Every version was asked for, and none after it ended when it was asked for.
fn check_order(
    versions: &[Made<'_>],
    operations: &BTreeMap<u64, Vec<&Asked<'_>>>,
    found: &mut Vec<Violation>,
) {
    let mut earliest: Option<(u64, &Version)> = None;
    for Made { version, .. } in versions.iter().rev() {
        let asked = operations.get(&version.operation).and_then(|asked| {
            let mut asked = asked.iter();
            asked.find(|asked| asked.key == version.key)
        });
        let Some(asked) = asked else {
            let says = format!("nobody asked for {version}");
            found.push(Violation::new(Kind::Undead, says));
            continue;
        };
        if let Some((_, later)) = earliest.filter(|(ended, _)| *ended < asked.begun) {
            let says = format!("{version} was asked for when {later} had been made");
            found.push(Violation::new(Kind::Order, says));
        }
        if earliest.is_none_or(|(ended, _)| asked.ended < ended) {
            earliest = Some((asked.ended, version));
        }
    }
}

// === impl Asked ===

impl<'a> Asked<'a> {
    fn of(event: &'a Event) -> Option<Self> {
        let Event::Asked {
            author,
            operation,
            key,
            deed,
            expected,
            content,
            begun,
            ended,
            outcome,
        } = event
        else {
            return None;
        };
        Some(Self {
            author,
            operation: *operation,
            key,
            deed: *deed,
            expected: *expected,
            content: content.as_deref(),
            begun: *begun,
            ended: match outcome {
                Outcome::Unknown => u64::MAX,
                _ => *ended,
            },
            outcome: *outcome,
        })
    }

    fn check(&self, truth: &Truth<'_>, found: &mut Vec<Violation>) {
        let Self { operation, key, .. } = self;
        let made = truth.made_by(*operation, key).map(|made| made.version);
        let number = made.map(|made| made.number);
        let kind = match self.outcome {
            Outcome::Made(told) => (number != Some(told)).then_some(Kind::Lost),
            Outcome::Unchanged | Outcome::Refused => number.map(|_| Kind::Undead),
            Outcome::Unknown => None,
        };
        if let Some(kind) = kind {
            let says = format!("operation {operation} on {key} made {number:?}");
            let says = format!("{says}, and was told: {}", self.outcome);
            found.push(Violation::new(kind, says));
        }
        let Some(made) = made else { return };
        let content = match self.deed {
            Deed::Rollback(to) => truth.content(key, to),
            Deed::Put | Deed::Delete => self.content,
        };
        let asked = (self.author, self.deed, content);
        if asked != (&made.author, made.deed, made.content.as_deref()) {
            let says = format!("{made} was asked for as {asked:?}");
            found.push(Violation::new(Kind::Content, says));
        }
        let before = made.number - 1;
        let gone = || truth.content(key, before).is_none();
        let fits = |expected| expected == before || (expected == 0 && gone());
        if !self.expected.is_none_or(fits) {
            let says = format!("{made} was to follow {:?}", self.expected);
            found.push(Violation::new(Kind::Swap, says));
        }
    }
}
