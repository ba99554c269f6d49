//! A transaction that can go together with others, and the caller who waits for it.

use std::time::Instant;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{
    domain::error::Error,
    store::{Compare, KeyRange, Operation, Txn, TxnResponse},
};

/// A transaction that can go together with others.
pub(super) struct Member {
    pub(super) txn: Txn,
    /// The keys it reads or compares.
    pub(super) reads: Vec<Bytes>,
    /// The keys it may write, and where the range begins that it has for itself.
    pub(super) writes: Vec<Bytes>,
    pub(super) bytes: usize,
    /// Until when it is tried.
    pub(super) deadline: Instant,
    pub(super) answer: oneshot::Sender<Result<Answer, Error>>,
}

/// What a member is told.
pub(super) struct Answer {
    pub(super) response: TxnResponse,
    /// The cache was waited for already.
    pub(super) shown: bool,
}

// === impl Member ===

impl Member {
    /// Tells the caller what came of it; one that gave up needs no answer.
    pub(super) fn tell(self, outcome: Result<TxnResponse, Error>) {
        let _ = self.answer.send(outcome.map(|response| Answer {
            response,
            shown: false,
        }));
    }

    /// A member of a group; gives `txn` back if it is not one of few keys that it names. Only the
    /// range that it has to itself may be looked at as a whole.
    pub(super) fn new(
        txn: Txn,
        apart: Option<KeyRange>,
        deadline: Instant,
        answer: oneshot::Sender<Result<Answer, Error>>,
    ) -> Result<Self, Txn> {
        let (mut reads, mut writes, mut bytes) = (Vec::new(), Vec::new(), 0);
        let steps = txn.success.iter().chain(&txn.failure);
        let compared = txn.compares.iter().map(|Compare { keys, .. }| keys);
        let read = steps.clone().filter_map(|step| match step {
            Operation::Range(request) => Some(&request.keys),
            _ => None,
        });
        for keys in compared.chain(read) {
            if keys.end.is_none() {
                reads.push(keys.start.clone());
            } else if apart.as_ref() != Some(keys) {
                return Err(txn);
            }
        }
        for step in steps {
            match step {
                Operation::Put { key, value, .. } => {
                    bytes += key.len() + value.len();
                    writes.push(key.clone());
                }
                Operation::Delete(KeyRange { start, end: None }) => writes.push(start.clone()),
                Operation::Range(_) => {}
                Operation::Overwrite { .. } | Operation::Delete(_) | Operation::Txn(_) => {
                    return Err(txn);
                }
            }
        }
        writes.extend(apart.map(|keys| keys.start));
        Ok(Self {
            txn,
            reads,
            writes,
            bytes,
            deadline,
            answer,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &'static str) -> Txn {
        Txn::new().then(Operation::put(key, "value"))
    }

    #[test]
    fn what_is_about_more_than_single_keys_goes_alone() {
        let range = KeyRange::prefix("a/");
        for txn in [
            put("a").when(Compare::empty(range.clone())),
            put("a").then(Operation::Delete(range)),
            put("a").then(Operation::Txn(put("b"))),
            put("a").then(Operation::overwrite("b", "")),
        ] {
            assert!(Member::new(txn, None, Instant::now(), oneshot::channel().0).is_err());
        }
    }

    #[test]
    fn a_range_is_looked_at_by_who_has_it_alone() {
        let member = |apart| {
            let txn = put("a/b").when(Compare::empty(KeyRange::prefix("a/")));
            Member::new(txn, Some(apart), Instant::now(), oneshot::channel().0)
        };
        assert!(member(KeyRange::prefix("a")).is_err());
        let member = member(KeyRange::prefix("a/")).unwrap_or_else(|_| panic!("no member"));
        assert_eq!(member.writes, ["a/b", "a/"]);
    }
}
