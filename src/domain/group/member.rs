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
    /// Its caller is not told before the cache shows what it did.
    pub(super) awaits_show: bool,
    pub(super) answer: oneshot::Sender<Result<Answer, Error>>,
}

/// What a member is told.
pub(super) struct Answer {
    pub(super) response: TxnResponse,
    /// The cache was waited for already.
    pub(super) shown: bool,
}

/// The keys that a transaction is about.
#[derive(Default)]
struct About {
    reads: Vec<Bytes>,
    writes: Vec<Bytes>,
    bytes: usize,
}

// === impl Member ===

impl Member {
    /// Tells the caller what came of it; one that gave up needs no answer.
    pub(super) fn tell(self, outcome: Result<Answer, Error>) {
        let _ = self.answer.send(outcome);
    }

    /// A member of a group; gives `txn` back if it is not one of few keys that it names. Only the
    /// range that it has to itself may be looked at as a whole.
    pub(super) fn new(
        txn: Txn,
        apart: Option<KeyRange>,
        deadline: Instant,
        awaits_show: bool,
        answer: oneshot::Sender<Result<Answer, Error>>,
    ) -> Result<Self, Txn> {
        let Some(mut about) = About::of(&txn, apart.as_ref()) else {
            return Err(txn);
        };
        about.writes.extend(apart.map(|keys| keys.start));
        Ok(Self {
            txn,
            reads: about.reads,
            writes: about.writes,
            bytes: about.bytes,
            deadline,
            awaits_show,
            answer,
        })
    }
}

// === impl Answer ===

impl Answer {
    /// What the cache may not show yet.
    pub(super) fn new(response: TxnResponse) -> Self {
        Self {
            response,
            shown: false,
        }
    }
}

// === impl About ===

impl About {
    /// `None`: about more than single keys and the range `apart`.
    fn of(txn: &Txn, apart: Option<&KeyRange>) -> Option<Self> {
        let mut about = Self::default();
        for Compare { keys, .. } in &txn.compares {
            about.read(keys, apart)?;
        }
        for step in txn.success.iter().chain(&txn.failure) {
            match step {
                Operation::Range(request) => about.read(&request.keys, apart)?,
                Operation::Put { key, value, .. } => {
                    about.bytes += key.len() + value.len();
                    about.writes.push(key.clone());
                }
                Operation::Delete(KeyRange { start, end: None }) => {
                    about.writes.push(start.clone());
                }
                Operation::Txn(nested) => {
                    let nested = Self::of(nested, apart)?;
                    about.reads.extend(nested.reads);
                    about.writes.extend(nested.writes);
                    about.bytes += nested.bytes;
                }
                Operation::Overwrite { .. } | Operation::Delete(_) => return None,
            }
        }
        Some(about)
    }

    fn read(&mut self, keys: &KeyRange, apart: Option<&KeyRange>) -> Option<()> {
        match keys.end {
            None => self.reads.push(keys.start.clone()),
            Some(_) if apart == Some(keys) => {}
            Some(_) => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &'static str) -> Txn {
        Txn::new().then(Operation::put(key, "value"))
    }

    fn member(txn: Txn, apart: Option<KeyRange>) -> Result<Member, Txn> {
        Member::new(txn, apart, Instant::now(), true, oneshot::channel().0)
    }

    #[test]
    fn what_is_about_more_than_single_keys_goes_alone() {
        let range = KeyRange::prefix("a/");
        for txn in [
            put("a").when(Compare::empty(range.clone())),
            put("a").then(Operation::Delete(range)),
            put("a").then(Operation::overwrite("b", "")),
        ] {
            let nested = Txn::new().then(Operation::Txn(txn.clone()));
            assert!(member(txn, None).is_err());
            assert!(member(nested, None).is_err());
        }
    }

    #[test]
    fn a_range_is_looked_at_by_who_has_it_alone() {
        let txn = put("a/b").when(Compare::empty(KeyRange::prefix("a/")));
        assert!(member(txn.clone(), Some(KeyRange::prefix("a"))).is_err());
        let member = member(txn, Some(KeyRange::prefix("a/")));
        let member = member.unwrap_or_else(|_| panic!("no member"));
        assert_eq!(member.writes, ["a/b", "a/"]);
    }

    #[test]
    fn what_is_nested_counts() {
        let seen = Txn::new().when(Compare::absent("c"));
        let txn = put("a")
            .then(Operation::Txn(seen))
            .otherwise(Operation::Txn(put("b")));
        let member = member(txn, None).unwrap_or_else(|_| panic!("no member"));
        assert_eq!(
            (member.reads, member.writes),
            (vec!["c".into()], vec!["a".into(), "b".into()])
        );
        assert_eq!(member.bytes, 2 * "avalue".len());
    }
}
