//! What the service says when all is over: the versions it has kept, what each config is, and its
//! audit. All of it is what the store did.

use std::collections::BTreeMap;

use super::{
    check::{Kind, Made, Truth, Violation},
    history::{Event, Version, checksum},
};

pub(super) fn check(truth: &Truth<'_>, events: &[Event], found: &mut Vec<Violation>) {
    check_kept(truth, events, found);
    check_heads(truth, events, found);
    check_audit(truth, events, found);
}

fn check_kept(truth: &Truth<'_>, events: &[Event], found: &mut Vec<Violation>) {
    let mut kept: BTreeMap<(&str, i64), (i64, &Version)> = BTreeMap::new();
    for event in events {
        let Event::Kept { revision, version } = event else {
            continue;
        };
        let place = (version.key.as_str(), version.number);
        if kept.insert(place, (*revision, version)).is_some() {
            let says = format!("the history has {version} twice");
            found.push(Violation::new(Kind::Double, says));
        }
        if truth.version(&version.key, version.number).is_none() {
            let says = format!("the history has {version}, which was not made");
            found.push(Violation::new(Kind::Undead, says));
        }
    }
    for Made { revision, version } in truth.revisions.values().flatten() {
        match kept.get(&(version.key.as_str(), version.number)) {
            Some(kept) if *kept == (*revision, version) => {}
            Some((at, kept)) => {
                let says = format!("{version} of {revision} is kept as {kept} of {at}");
                found.push(Violation::new(Kind::Content, says));
            }
            None => {
                let says = format!("{version} is not in the history");
                found.push(Violation::new(Kind::Lost, says));
            }
        }
    }
}

fn check_heads(truth: &Truth<'_>, events: &[Event], found: &mut Vec<Violation>) {
    let heads: BTreeMap<&str, (i64, Option<&str>)> = events
        .iter()
        .filter_map(|event| match event {
            Event::Head {
                key,
                version,
                content,
            } => Some((key.as_str(), (*version, content.as_deref()))),
            _ => None,
        })
        .collect();
    for (key, versions) in &truth.keys {
        let last = versions.last().map(|made| made.version);
        let last = last.and_then(|last| Some((last.number, Some(last.content.as_deref()?))));
        let last = last.unwrap_or((0, None));
        if heads.get(key) != Some(&last) {
            let says = format!("{key} is {:?}, not {last:?}", heads.get(key));
            found.push(Violation::new(Kind::Head, says));
        }
    }
}

fn check_audit(truth: &Truth<'_>, events: &[Event], found: &mut Vec<Violation>) {
    let mut wrong = |says: String| found.push(Violation::new(Kind::Audit, says));
    let mut entries: BTreeMap<i64, i64> = BTreeMap::new();
    let mut told: BTreeMap<(&str, i64), usize> = BTreeMap::new();
    for event in events {
        let Event::Audited {
            number,
            revision,
            key,
            version,
            deed,
            author,
            operation,
            before,
            after,
        } = event
        else {
            continue;
        };
        entries.insert(*number, *revision);
        *told.entry((key, *version)).or_default() += 1;
        let Some(made) = truth.version(key, *version) else {
            wrong(format!("{event} tells of what was not made"));
            continue;
        };
        let sum_of = |number| truth.content(key, number).map(checksum);
        let good = *revision == made.revision
            && *deed == made.version.deed.name()
            && *author == made.version.author
            && *operation == made.version.operation
            && (before, after) == (&sum_of(version - 1), &sum_of(*version));
        if !good {
            wrong(format!("{event} does not tell of {}", made.version));
        }
    }
    for made in truth.revisions.values().flatten() {
        let times = told.get(&(made.version.key.as_str(), made.version.number));
        if times != Some(&1) {
            wrong(format!("{} is told {times:?} times", made.version));
        }
    }
    let numbers: Vec<i64> = entries.keys().copied().collect();
    let counted = i64::try_from(numbers.len()).unwrap_or(i64::MAX);
    if numbers != Vec::from_iter(1..=counted) {
        wrong("the numbers of the audit have holes".into());
    }
    if !entries.values().is_sorted() {
        wrong("the audit is not in the order of the store".into());
    }
    let whole = events.contains(&Event::Verified { entries: counted });
    if !whole && !events.is_empty() {
        wrong(format!("nobody verified an audit of {counted} entries"));
    }
}
