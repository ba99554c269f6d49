//! The events of a delta, and the items of a snapshot, beside what they should be.

use std::collections::{BTreeMap, BTreeSet};

use stanchion_client::proto::{DeleteCause, EventType};

use super::{Kind, projection::Step};
use crate::{recorder::Event, view::Look};

/// What is wrong with one path.
pub(super) type Fault = (Kind, String, String);

/// A delta of one revision says exactly what that revision changed.
pub(super) fn compare(prefix: &str, events: &[Event], steps: &[Step]) -> Vec<Fault> {
    let mut faults = once_each(prefix, events);
    for event in events.iter().filter(|event| event.path.starts_with(prefix)) {
        match steps.iter().find(|step| step.path == event.path) {
            None => faults.push(fault(Kind::Filter, &event.path, "nothing happened to it")),
            Some(step) => faults.extend(compare_event(event, step)),
        }
    }
    let told: BTreeSet<&str> = events.iter().map(|event| event.path.as_str()).collect();
    let missing = steps
        .iter()
        .filter(|step| !told.contains(step.path.as_str()));
    faults.extend(missing.map(|step| {
        let says = "it changed in this revision, which does not say so";
        fault(Kind::Gap, &step.path, says)
    }));
    faults
}

fn compare_event(event: &Event, step: &Step) -> Vec<Fault> {
    let (kind, look) = match (&step.before, &step.after) {
        (None, Some(after)) => (EventType::Added, after),
        (Some(_), Some(after)) => (EventType::Modified, after),
        (before, None) => (EventType::Deleted, before.as_ref().unwrap_or(&event.look)),
    };
    let mut faults = Vec::new();
    if event.kind != kind {
        let says = format!(
            "{} instead of {}",
            event.kind.as_str_name(),
            kind.as_str_name()
        );
        faults.push((Kind::Event, event.path.clone(), says));
    }
    if event.look != *look {
        faults.push(looks(&event.path, &event.look, look));
    }
    let causes = match kind {
        EventType::Deleted => step.causes.as_slice(),
        _ => &[DeleteCause::Unspecified],
    };
    if event.kind == kind && !causes.contains(&event.cause) {
        let says = format!("its cause is {}, not {causes:?}", event.cause.as_str_name());
        faults.push((Kind::Event, event.path.clone(), says));
    }
    faults
}

/// A delta that merges revisions leads from what was known to what there is now. It may name what
/// changed and changed back, or came and went; what is new may be called modified.
pub(super) fn compare_conflated(
    prefix: &str,
    events: &[Event],
    before: &BTreeMap<String, Look>,
    after: &BTreeMap<String, Look>,
) -> Vec<Fault> {
    let mut faults = once_each(prefix, events);
    for event in events.iter().filter(|event| event.path.starts_with(prefix)) {
        match (event.kind, after.get(&event.path)) {
            (EventType::Deleted, None) => {}
            (EventType::Deleted, Some(_)) => {
                faults.push(fault(Kind::Event, &event.path, "it is there, not deleted"));
            }
            (_, None) => faults.push(fault(Kind::Event, &event.path, "it is deleted")),
            (EventType::Added, Some(_)) if before.contains_key(&event.path) => {
                faults.push(fault(Kind::Event, &event.path, "it was known, not added"));
            }
            (_, Some(look)) if event.look != *look => {
                faults.push(looks(&event.path, &event.look, look));
            }
            (_, Some(_)) => {}
        }
    }
    let told: BTreeSet<&str> = events.iter().map(|event| event.path.as_str()).collect();
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for path in paths {
        if before.get(path) != after.get(path) && !told.contains(path.as_str()) {
            faults.push(fault(Kind::Gap, path, "it changed, and no event says so"));
        }
    }
    faults
}

/// A snapshot is everything selected, in the order of its paths.
pub(super) fn compare_snapshot(
    prefix: &str,
    items: &[(String, Look)],
    expected: &BTreeMap<String, Look>,
) -> Vec<(String, String)> {
    let mut faults = Vec::new();
    for pair in items.windows(2) {
        if pair[0].0 >= pair[1].0 {
            faults.push((pair[1].0.clone(), format!("it comes after {}", pair[0].0)));
        }
    }
    let shown: BTreeMap<&String, &Look> = items.iter().map(|(path, look)| (path, look)).collect();
    for (path, look) in &shown {
        let says = match expected.get(*path) {
            _ if !path.starts_with(prefix) => "it does not match the selection".to_owned(),
            None => "it was not there".to_owned(),
            Some(expected) if expected != *look => looks(path, look, expected).2,
            Some(_) => continue,
        };
        faults.push(((*path).clone(), says));
    }
    let missing = expected.keys().filter(|path| !shown.contains_key(path));
    faults.extend(missing.map(|path| (path.clone(), "it is missing".to_owned())));
    faults
}

/// Each path once, and none that does not match.
fn once_each(prefix: &str, events: &[Event]) -> Vec<Fault> {
    let mut seen = BTreeSet::new();
    let mut faults = Vec::new();
    for event in events {
        if !event.path.starts_with(prefix) {
            let says = "it does not match the selection";
            faults.push(fault(Kind::Filter, &event.path, says));
        }
        if !seen.insert(&event.path) {
            faults.push(fault(
                Kind::Order,
                &event.path,
                "it is told twice in one delta",
            ));
        }
    }
    faults
}

fn looks(path: &str, told: &str, expected: &str) -> Fault {
    let says = format!("it looks like {told} instead of {expected}");
    (Kind::Look, path.to_owned(), says)
}

fn fault(kind: Kind, path: &str, says: &str) -> Fault {
    (kind, path.to_owned(), says.to_owned())
}
