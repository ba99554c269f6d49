//! Each spoils an observation in one way, if there is something to spoil.

use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};
use stanchion_client::proto::{DeleteCause, EventType};

use crate::{
    checker::truth::Truth,
    recorder::{Body, Delta, Entry, Event, Message, Observation, What},
};

pub fn drop_event(_: &Truth, seen: &mut Observation, rng: &mut StdRng) -> bool {
    let Some(at) = pick(seen, rng, |delta| !delta.conflated) else {
        return false;
    };
    let events = &mut delta_at(seen, at).events;
    events.remove(rng.random_range(0..events.len()));
    true
}

pub fn drop_delta(_: &Truth, seen: &mut Observation, rng: &mut StdRng) -> bool {
    let Some(at) = pick(seen, rng, |delta| !delta.conflated) else {
        return false;
    };
    let prev_revision = delta_at(seen, at).prev_revision;
    // Only a message that goes on can hide it.
    match seen.entries.get_mut(at + 1).and_then(body) {
        Some(Body::Delta(next)) if next.last_part && !next.conflated => {
            next.prev_revision = prev_revision;
        }
        Some(Body::Bookmark { .. }) => {}
        _ => return false,
    }
    seen.entries.remove(at);
    true
}

pub fn drop_delete(_: &Truth, seen: &mut Observation, rng: &mut StdRng) -> bool {
    let deletes = |event: &Event| event.kind == EventType::Deleted;
    let Some(at) = pick(seen, rng, |delta| delta.events.iter().any(deletes)) else {
        return false;
    };
    let events = &mut delta_at(seen, at).events;
    let position = events.iter().position(deletes).unwrap();
    events.remove(position);
    true
}

pub fn duplicate(_: &Truth, seen: &mut Observation, rng: &mut StdRng) -> bool {
    let Some(at) = pick(seen, rng, |_| true) else {
        return false;
    };
    let again = seen.entries[at].clone();
    seen.entries.insert(at + 1, again);
    true
}

/// The token's revision is told again, as a server does that resumes at it and not after it.
pub fn repeat_after_resume(_: &Truth, seen: &mut Observation, _: &mut StdRng) -> bool {
    for at in 1..seen.entries.len() {
        let What::Opened {
            after: Some(after), ..
        } = seen.entries[at].what
        else {
            continue;
        };
        let whole = |entry: &&Entry| told(entry).is_some_and(|body| body.through() == Some(after));
        let is_single =
            |entry: &&Entry| matches!(told(entry), Some(Body::Delta(delta)) if !delta.conflated);
        let last = seen.entries[..at].iter().rfind(whole);
        if let Some(told) = last.filter(is_single) {
            let mut again = told.clone();
            if let Some(Body::Delta(delta)) = body(&mut again) {
                delta.prev_revision = after - 1;
            }
            seen.entries.insert(at + 1, again);
            return true;
        }
    }
    false
}

pub fn swap(_: &Truth, seen: &mut Observation, rng: &mut StdRng) -> bool {
    let Some(at) = pick_pair(seen, rng) else {
        return false;
    };
    seen.entries.swap(at, at + 1);
    true
}

/// The revisions stay in order; what they did changes places.
pub fn swap_events(_: &Truth, seen: &mut Observation, rng: &mut StdRng) -> bool {
    let Some(at) = pick_pair(seen, rng) else {
        return false;
    };
    let first = std::mem::take(&mut delta_at(seen, at).events);
    let second = std::mem::replace(&mut delta_at(seen, at + 1).events, first);
    delta_at(seen, at).events = second;
    true
}

pub fn split(_: &Truth, seen: &mut Observation, rng: &mut StdRng) -> bool {
    let Some(at) = pick(seen, rng, |delta| {
        !delta.conflated && delta.events.len() > 1
    }) else {
        return false;
    };
    let mut second = seen.entries[at].clone();
    let first = delta_at(seen, at);
    let rest = first.events.split_off(1);
    let revision = first.revision;
    if let Some(Body::Delta(delta)) = body(&mut second) {
        delta.events = rest;
        delta.prev_revision = revision;
    }
    seen.entries.insert(at + 1, second);
    true
}

pub fn early_bookmark(_: &Truth, seen: &mut Observation, rng: &mut StdRng) -> bool {
    let Some(at) = pick(seen, rng, |_| true) else {
        return false;
    };
    let revision = delta_at(seen, at).revision;
    let mut early = seen.entries[at].clone();
    *body(&mut early).unwrap() = Body::Bookmark {
        revision,
        last: false,
    };
    seen.entries.insert(at, early);
    true
}

pub fn late_bookmark(_: &Truth, seen: &mut Observation, rng: &mut StdRng) -> bool {
    let Some(at) = pick(seen, rng, |_| true) else {
        return false;
    };
    let revision = delta_at(seen, at).revision - 1;
    let mut late = seen.entries[at].clone();
    *body(&mut late).unwrap() = Body::Bookmark {
        revision,
        last: false,
    };
    seen.entries.insert(at + 1, late);
    true
}

/// The snapshot is one of an earlier revision, and does not say so.
pub fn stale_snapshot(truth: &Truth, seen: &mut Observation, rng: &mut StdRng) -> bool {
    let ends: Vec<usize> = (0..seen.entries.len())
        .filter(|at| matches!(told(&seen.entries[*at]), Some(Body::SnapshotEnd(_))))
        .collect();
    let end = *ends.choose(rng).unwrap();
    let What::Told(message) = seen.entries[end].what.clone() else {
        return false;
    };
    let Body::SnapshotEnd(revision) = message.body else {
        return false;
    };
    let line = &truth.lines[truth.reign(&message.epoch).unwrap().line];
    let now = line.at(revision);
    let Some(past) = (0..revision)
        .map(|past| line.at(past))
        .rfind(|past| *past != now)
    else {
        return false;
    };
    let mut begin = end;
    while matches!(told(&seen.entries[begin - 1]), Some(Body::Snapshot(_))) {
        begin -= 1;
    }
    let mut stale = seen.entries[end].clone();
    stale.what = What::Told(Message {
        resumable: false,
        body: Body::Snapshot(past.into_iter().collect()),
        ..message
    });
    seen.entries.splice(begin..end, [stale]);
    true
}

pub fn hide_reset(_: &Truth, seen: &mut Observation, _: &mut StdRng) -> bool {
    let is_reset = |entry: &Entry| matches!(told(entry), Some(Body::Reset(_)));
    let Some(at) = seen.entries.iter().position(is_reset) else {
        return false;
    };
    seen.entries.remove(at);
    true
}

pub fn wrong_type(_: &Truth, seen: &mut Observation, rng: &mut StdRng) -> bool {
    let Some(at) = pick(seen, rng, |delta| !delta.conflated) else {
        return false;
    };
    let event = delta_at(seen, at).events.last_mut().unwrap();
    let other = [EventType::Added, EventType::Modified, EventType::Deleted]
        .into_iter()
        .filter(|kind| *kind != event.kind)
        .collect::<Vec<_>>();
    event.kind = *other.choose(rng).unwrap();
    true
}

pub fn wrong_cause(_: &Truth, seen: &mut Observation, rng: &mut StdRng) -> bool {
    let deletes = |event: &Event| event.kind == EventType::Deleted;
    let spoilt = |delta: &Delta| !delta.conflated && delta.events.iter().any(deletes);
    let Some(at) = pick(seen, rng, spoilt) else {
        return false;
    };
    let events = &mut delta_at(seen, at).events;
    let event = events.iter_mut().find(|event| deletes(event)).unwrap();
    event.cause = match event.cause {
        DeleteCause::Empty => DeleteCause::Released,
        _ => DeleteCause::Empty,
    };
    true
}

pub fn wrong_look(_: &Truth, seen: &mut Observation, rng: &mut StdRng) -> bool {
    replace(seen, rng, "revision: ", "revision: 1")
}

/// Who waits is told as one who holds the lock.
pub fn two_holders(_: &Truth, seen: &mut Observation, rng: &mut StdRng) -> bool {
    replace(seen, rng, "held: false", "held: true")
}

pub fn miscount(_: &Truth, seen: &mut Observation, rng: &mut StdRng) -> bool {
    replace(seen, rng, "serving_count: ", "serving_count: 1")
}

/// An item is told with other words in its look.
fn replace(seen: &mut Observation, rng: &mut StdRng, words: &str, others: &str) -> bool {
    let says = |event: &Event| stays(event) && event.look.contains(words);
    let Some(at) = pick(seen, rng, |delta| delta.events.iter().any(says)) else {
        return false;
    };
    let events = &mut delta_at(seen, at).events;
    let event = events.iter_mut().find(|event| says(event)).unwrap();
    event.look = event.look.replace(words, others);
    true
}

pub fn outside(_: &Truth, seen: &mut Observation, rng: &mut StdRng) -> bool {
    let Some(at) = pick(seen, rng, |_| true) else {
        return false;
    };
    let delta = delta_at(seen, at);
    let mut event = delta.events[0].clone();
    event.path = "default/elsewhere".into();
    delta.events.push(event);
    true
}

pub fn hide_conflation(truth: &Truth, seen: &mut Observation, rng: &mut StdRng) -> bool {
    let Some(at) = pick(seen, rng, |delta| delta.conflated) else {
        return false;
    };
    let What::Told(message) = &seen.entries[at].what else {
        return false;
    };
    let line = &truth.lines[truth.reign(&message.epoch).unwrap().line];
    let delta = delta_at(seen, at);
    // One of a single revision hides nothing.
    let merged = line
        .between(delta.prev_revision, delta.revision - 1)
        .count();
    delta.conflated = false;
    merged > 0
}

pub fn drop_conflated_event(_: &Truth, seen: &mut Observation, rng: &mut StdRng) -> bool {
    let Some(at) = pick(seen, rng, |delta| delta.conflated) else {
        return false;
    };
    delta_at(seen, at).events.pop();
    true
}

pub fn change_epoch(_: &Truth, seen: &mut Observation, rng: &mut StdRng) -> bool {
    let Some(at) = pick(seen, rng, |_| true) else {
        return false;
    };
    if let What::Told(message) = &mut seen.entries[at].what {
        message.epoch = "000000000000000f".into();
    }
    true
}

pub fn break_chain(_: &Truth, seen: &mut Observation, rng: &mut StdRng) -> bool {
    let Some(at) = pick(seen, rng, |_| true) else {
        return false;
    };
    delta_at(seen, at).prev_revision -= 1;
    true
}

/// Nothing comes any more from the last delta on.
pub fn cut_off(_: &Truth, seen: &mut Observation, _: &mut StdRng) -> bool {
    let Some(at) = wholes(seen, |_| true).pop() else {
        return false;
    };
    // What several changes come to may be what was there before.
    let conflated = wholes(seen, |delta| delta.conflated).contains(&at);
    let mut later = seen.entries[at + 1..].iter();
    if conflated || later.any(|entry| matches!(told(entry), Some(Body::Delta(_)))) {
        return false;
    }
    let resets = seen.entries[at..].iter();
    let started_over = resets
        .filter(|entry| matches!(told(entry), Some(Body::Reset(_))))
        .count();
    seen.entries.truncate(at);
    started_over == 0
}

fn stays(event: &Event) -> bool {
    event.kind != EventType::Deleted
}

/// A delta that came in one part.
fn pick(seen: &Observation, rng: &mut StdRng, fits: impl Fn(&Delta) -> bool) -> Option<usize> {
    wholes(seen, fits).choose(rng).copied()
}

/// The first of two deltas that follow each other, neither merged.
fn pick_pair(seen: &Observation, rng: &mut StdRng) -> Option<usize> {
    let singles = wholes(seen, |delta| !delta.conflated);
    let firsts: Vec<_> = singles
        .iter()
        .filter(|at| singles.contains(&(*at + 1)))
        .collect();
    firsts.choose(rng).map(|at| **at)
}

fn wholes(seen: &Observation, fits: impl Fn(&Delta) -> bool) -> Vec<usize> {
    let is_part =
        |entry: &Entry| matches!(told(entry), Some(Body::Delta(delta)) if !delta.last_part);
    (0..seen.entries.len())
        .filter(|at| {
            let Some(Body::Delta(delta)) = told(&seen.entries[*at]) else {
                return false;
            };
            let in_parts = *at > 0 && is_part(&seen.entries[at - 1]);
            delta.last_part && !in_parts && fits(delta)
        })
        .collect()
}

fn told(entry: &Entry) -> Option<&Body> {
    match &entry.what {
        What::Told(message) => Some(&message.body),
        What::Opened { .. } | What::Ended { .. } => None,
    }
}

fn body(entry: &mut Entry) -> Option<&mut Body> {
    match &mut entry.what {
        What::Told(message) => Some(&mut message.body),
        What::Opened { .. } | What::Ended { .. } => None,
    }
}

fn delta_at(seen: &mut Observation, at: usize) -> &mut Delta {
    match body(&mut seen.entries[at]) {
        Some(Body::Delta(delta)) => delta,
        other => panic!("no delta: {other:?}"),
    }
}
