//! What the store did: what its members told, where they agree.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::log::{Log, Put, Revision};

/// Everything that happened below the watched prefix. A part for each time the store lost data.
#[derive(Debug, Clone)]
pub struct History {
    /// The root below which the server keeps its keys, as in `--store etcd://host/ROOT`.
    pub root: String,
    pub parts: Vec<Part>,
}

/// One unbroken line of etcd's history.
#[derive(Debug, Clone, Default)]
pub struct Part {
    /// What there was when it began, which is nothing unless it was compacted before.
    pub base: BTreeMap<Bytes, Put>,
    /// The revision of that.
    pub start: i64,
    /// What happened then.
    pub revisions: BTreeMap<i64, Revision>,
    /// The revision up to which everything is known.
    pub end: i64,
}

/// The members of etcd contradict each other, or something happened that none of them told: then
/// nothing can be said of what watchers saw.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the store is suspect: {}", .0.join("; "))]
pub struct Suspect(pub Vec<String>);

// === impl History ===

impl History {
    /// What every key begins with that the servers watch.
    pub fn prefix(&self) -> String {
        state_prefix(&self.root)
    }
}

// === impl Part ===

impl Part {
    /// What there was at a revision.
    pub fn at(&self, revision: i64) -> BTreeMap<Bytes, Put> {
        let mut state = self.base.clone();
        for (_, told) in self.revisions.range(..=revision) {
            for change in &told.changes {
                match &change.put {
                    Some(put) => state.insert(change.key.clone(), put.clone()),
                    None => state.remove(&change.key),
                };
            }
        }
        state
    }

    /// What members agree on that were asked for the same.
    pub fn agreed(logs: Vec<Log>) -> Result<Self, Suspect> {
        let mut faults: Vec<String> = Vec::new();
        for (member, log) in logs.iter().enumerate() {
            let said = log.faults.iter();
            faults.extend(said.map(|fault| format!("member {member}: {fault}")));
        }
        let end = logs.iter().map(|log| log.complete).max().unwrap_or(0);
        // One that was never reached has nothing to say.
        let told: Vec<_> = logs.iter().filter(|log| !log.is_empty()).collect();
        let first = told.iter().min_by_key(|log| log.start);
        let mut part = Self {
            base: first.map(|log| log.base.clone()).unwrap_or_default(),
            start: first.map_or(0, |log| log.start),
            revisions: BTreeMap::new(),
            end,
        };
        let of_interest: BTreeSet<i64> = told
            .iter()
            .flat_map(|log| log.revisions.keys())
            .copied()
            .collect();
        for revision in of_interest {
            let mut known = told.iter().filter(|log| log.covers(revision));
            let Some(told) = known.next().map(|log| log.revisions.get(&revision)) else {
                continue;
            };
            let mut first = told.map(|told| told.first);
            for other in known {
                let other = other.revisions.get(&revision);
                first = first.min(other.map(|other| other.first));
                if told.map(|told| &told.changes) != other.map(|other| &other.changes) {
                    faults.push(format!("the members disagree on revision {revision}"));
                }
            }
            if let (Some(told), Some(first)) = (told, first) {
                let told = told.clone();
                part.revisions.insert(revision, Revision { first, ..told });
            }
        }
        for log in &told {
            for hole in &log.holes {
                let unknown = (hole.0.max(part.start + 1)..=hole.1)
                    .find(|revision| !told.iter().any(|log| log.covers(*revision)));
                if let Some(unknown) = unknown {
                    faults.push(format!(
                        "revision {unknown} was compacted before it was told"
                    ));
                }
            }
        }
        if told.iter().any(|log| log.start > part.start) {
            faults.extend(part.compare_bases(&told));
        }
        if faults.is_empty() {
            Ok(part)
        } else {
            Err(Suspect(faults))
        }
    }

    /// A member that began later must have begun with what the others had then.
    fn compare_bases(&self, logs: &[&Log]) -> Vec<String> {
        let differs = |log: &&&Log| log.start > self.start && self.at(log.start) != log.base;
        let describe = |log: &&Log| format!("the members disagree on the state at {}", log.start);
        logs.iter().filter(differs).map(describe).collect()
    }
}

/// What every key begins with that servers watch below `root`.
pub fn state_prefix(root: &str) -> String {
    format!("/{}/v1/state/", root.trim_matches('/'))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use etcd_client::proto::{PbEvent, PbKeyValue};

    use super::*;

    fn event(key: &str, value: &str, revision: i64) -> PbEvent {
        PbEvent {
            r#type: 0,
            kv: Some(PbKeyValue {
                key: key.into(),
                value: value.into(),
                mod_revision: revision,
                ..PbKeyValue::default()
            }),
            prev_kv: None,
        }
    }

    fn log(events: &[(&str, i64)], complete: i64) -> Log {
        let mut log = Log::default();
        for (value, revision) in events {
            log.events(vec![event("k", value, *revision)], Instant::now());
        }
        log.progress(complete);
        log
    }

    #[test]
    fn members_that_agree_make_a_history_as_long_as_the_longest() {
        let part = Part::agreed(vec![log(&[("a", 2), ("b", 4)], 9), log(&[("a", 2)], 3)]).unwrap();
        assert_eq!(part.end, 9);
        assert_eq!(part.revisions.len(), 2);
        assert_eq!(part.at(3)[&b"k"[..]].value, "a");
        assert_eq!(part.at(9)[&b"k"[..]].value, "b");
    }

    #[test]
    fn members_that_disagree_are_suspect() {
        let other = log(&[("a", 2), ("x", 4)], 9);
        Part::agreed(vec![log(&[("a", 2), ("b", 4)], 9), other]).unwrap_err();
        let silent = log(&[("a", 2)], 9);
        Part::agreed(vec![log(&[("a", 2), ("b", 4)], 9), silent]).unwrap_err();
    }

    #[test]
    fn what_one_member_missed_another_tells_and_what_all_missed_is_suspect() {
        let mut blind = log(&[("a", 2)], 2);
        blind.compacted(5);
        blind.progress(9);
        let part = Part::agreed(vec![blind.clone(), log(&[("a", 2), ("b", 4)], 9)]).unwrap();
        assert_eq!(part.revisions.len(), 2);
        Part::agreed(vec![blind]).unwrap_err();
    }

    #[test]
    fn a_member_that_repeats_itself_is_suspect() {
        let mut log = log(&[("a", 2)], 4);
        log.events(vec![event("k", "a", 2)], Instant::now());
        Part::agreed(vec![log]).unwrap_err();
    }

    #[test]
    fn a_member_that_began_later_must_have_begun_with_what_there_was() {
        let mut late = Log::default();
        late.begin(2, [event("k", "a", 2).kv.unwrap()]);
        late.events(vec![event("k", "b", 4)], Instant::now());
        let early = log(&[("a", 2), ("b", 4)], 4);
        Part::agreed(vec![early.clone(), late.clone()]).unwrap();
        late.begin(2, [event("k", "other", 2).kv.unwrap()]);
        Part::agreed(vec![early, late]).unwrap_err();
    }
}
