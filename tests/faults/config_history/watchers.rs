//! What watchers were shown: exactly the versions, in order, or their sum where that is said.

use std::collections::BTreeMap;

use super::{
    check::{Kind, Made, Summary, Truth, Violation},
    history::{Change, Event, How},
};

/// A config that is there: its version and content.
type Shown = (i64, String);

/// Where a watcher is.
struct Place {
    revision: i64,
    /// What it knows to be there.
    known: BTreeMap<String, Shown>,
}

pub(super) fn check(
    truth: &Truth<'_>,
    events: &[Event],
    found: &mut Vec<Violation>,
    summary: &mut Summary,
) {
    let mut places: BTreeMap<&str, Place> = BTreeMap::new();
    for event in events {
        let Event::Shown {
            watcher,
            how,
            revision,
            changes,
        } = event
        else {
            continue;
        };
        summary.deltas += usize::from(matches!(how, How::Delta | How::Conflated));
        summary.conflated += usize::from(*how == How::Conflated);
        let mut wrong = |says: &str| {
            let says = format!("{says}: {event}");
            found.push(Violation::new(Kind::Watch, says));
        };
        let before = places.remove(watcher.as_str());
        let from = before.as_ref().map_or(0, |place| place.revision);
        if *revision < from || (*revision == from && matches!(how, How::Delta | How::Conflated)) {
            wrong(&format!("it was current through {from} already"));
        }
        let known = before.map_or_else(BTreeMap::new, |place| place.known);
        let until = *revision.max(&from);
        let happened: Vec<_> = truth.revisions.range(from + 1..until + 1).collect();
        let after = sum(known.clone(), happened.iter().flat_map(|(_, made)| *made));
        let expected = match how {
            How::Snapshot => difference(&BTreeMap::new(), &after),
            How::Current => Vec::new(),
            How::Delta | How::Conflated => difference(&known, &after),
        };
        let once = match how {
            How::Delta => matches!(happened[..], [(at, _)] if at == revision),
            How::Current => happened.is_empty(),
            How::Snapshot | How::Conflated => true,
        };
        if !once {
            let at: Vec<_> = happened.iter().map(|(at, _)| at).collect();
            wrong(&format!("since {from}, there was something at {at:?}"));
        } else if sorted(changes) != expected {
            wrong(&format!("it should have been {}", listed(&expected)));
        }
        let place = Place {
            revision: *revision,
            known: after,
        };
        places.insert(watcher, place);
    }
    summary.watchers = places.len();
    let last = truth.revisions.keys().next_back().copied().unwrap_or(0);
    for (watcher, place) in places {
        if place.revision < last {
            let says = format!("{watcher} stays at {}, before {last}", place.revision);
            found.push(Violation::new(Kind::Watch, says));
        }
    }
}

/// What is there when these versions are made one after the other.
fn sum<'a>(
    mut known: BTreeMap<String, Shown>,
    made: impl Iterator<Item = &'a Made<'a>>,
) -> BTreeMap<String, Shown> {
    for Made { version, .. } in made {
        match &version.content {
            Some(content) => {
                known.insert(version.key.clone(), (version.number, content.clone()));
            }
            None => {
                known.remove(&version.key);
            }
        }
    }
    known
}

/// What leads from one to the other, in the order of the keys.
fn difference(before: &BTreeMap<String, Shown>, after: &BTreeMap<String, Shown>) -> Vec<Change> {
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    let gone = gone.map(|key| Change {
        key: key.clone(),
        shown: None,
    });
    let new = after
        .iter()
        .filter(|(key, shown)| before.get(*key) != Some(shown));
    let new = new.map(|(key, shown)| Change {
        key: key.clone(),
        shown: Some(shown.clone()),
    });
    sorted(&gone.chain(new).collect::<Vec<_>>())
}

fn sorted(changes: &[Change]) -> Vec<Change> {
    let mut changes = changes.to_vec();
    changes.sort_by(|a, b| a.key.cmp(&b.key));
    changes
}

fn listed(changes: &[Change]) -> String {
    let words: Vec<_> = changes.iter().map(ToString::to_string).collect();
    words.join(" ")
}
