//! What etcd's own history says of the writes: each acknowledged one is in it as it was answered,
//! none twice, and none that was refused.

use std::collections::{BTreeSet, HashMap};

use prost::Message as _;
use stanchion::proto::store::ConfigHead;

use super::writes::{Fate, Write};
use crate::{harness::Figures, witness::History};

/// A write that etcd carried out.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Done {
    key: String,
    revision: i64,
    version: i64,
}

/// Judges all writes. Where data was lost, acknowledged ones may be missing.
pub fn judge(history: &History, writes: Vec<Write>, complete: bool, figures: &mut Figures) {
    let mut done = done(history);
    let mut resolved = 0;
    for write in writes {
        let carried_out = done.remove(&write.content).unwrap_or_default();
        assert!(carried_out.len() <= 1, "carried out twice: {write:?}");
        match (write.fate, carried_out.first()) {
            (Fate::Acknowledged { revision, version }, Some(done)) => {
                assert_eq!(
                    (revision, version, &write.key),
                    (done.revision, done.version, &done.key),
                    "carried out in another way: {write:?}"
                );
                resolved += usize::from(write.tries.len() > 1);
            }
            (Fate::Acknowledged { .. }, None) => {
                assert!(!complete, "acknowledged and not carried out: {write:?}");
            }
            (Fate::Refused, done) => {
                assert!(done.is_none(), "refused and carried out: {write:?}");
            }
            (Fate::Open, _) => {}
        }
    }
    figures.add("unknown writes resolved", resolved);
}

/// Every version of every config, by its content; once, although a restored store has it again.
fn done(history: &History) -> HashMap<String, BTreeSet<Done>> {
    let prefix = format!("{}cfg/default/", history.prefix());
    let mut done: HashMap<String, BTreeSet<Done>> = HashMap::new();
    for (revision, told) in history.parts.iter().flat_map(|part| &part.revisions) {
        for change in &told.changes {
            let Some(key) = change.key.strip_prefix(prefix.as_bytes()) else {
                continue;
            };
            let Some(put) = &change.put else { continue };
            let head = ConfigHead::decode(put.value.clone()).unwrap();
            let content = String::from_utf8_lossy(&head.content).into_owned();
            done.entry(content).or_default().insert(Done {
                key: String::from_utf8_lossy(key).into_owned(),
                revision: *revision,
                version: head.version,
            });
        }
    }
    done
}
