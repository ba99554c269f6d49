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
    /// The keys it may write.
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

    /// A member of a group; gives `txn` back if it is not one of few keys that it names.
    pub(super) fn new(
        txn: Txn,
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
        for KeyRange { start, end } in compared.chain(read) {
            if end.is_some() {
                return Err(txn);
            }
            reads.push(start.clone());
        }
        for step in steps {
            match step {
                Operation::Put { key, value, .. } => {
                    bytes += key.len() + value.len();
                    writes.push(key.clone());
                }
                Operation::Range(_) => {}
                Operation::Overwrite { .. } | Operation::Delete(_) | Operation::Txn(_) => {
                    return Err(txn);
                }
            }
        }
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
            assert!(Member::new(txn, Instant::now(), oneshot::channel().0).is_err());
        }
    }
}
