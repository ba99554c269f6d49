//! Group commit: transactions that have nothing to do with each other and come at about the same
//! time go to the store as one.
//!
//! Every request to the store costs the same again on the way, in its log and in its watches, so
//! that in a storm of small writes this is most of what they cost. Nobody waits for others to come:
//! whoever comes while few are on their way goes at once, and who has to wait goes with whoever
//! else does.
//!
//! A group is one transaction with each member nested in it, compares included, so that a member
//! whose conditions do not hold stops nobody. All compares of a group are made before anything is
//! written: members may therefore not touch what another one writes. They share a revision, which
//! is why nothing may go this way whose order is told by it, such as places in a queue.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::oneshot;

use crate::store::{Compare, KeyRange, Operation, OperationResponse, Outcome, Txn, TxnResponse};

use super::{Core, error::Error};

/// How many transactions are on their way before others wait to go together.
const FLIGHTS: usize = 2;
/// How many members a group has: nested, each may then still have 96 conditions and steps.
const MEMBERS: usize = 32;
/// How many bytes a group writes: far below the store's limit, so that keys, compares and reads fit
/// beside them.
const BYTES: usize = 512 * 1024;

/// The transactions that wait to go together.
#[derive(Default)]
pub(super) struct Group(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    flights: usize,
    members: Vec<Member>,
}

/// A transaction that can go together with others.
struct Member {
    txn: Txn,
    /// The keys it reads or compares.
    reads: Vec<Bytes>,
    /// The keys it may write.
    writes: Vec<Bytes>,
    bytes: usize,
    answer: oneshot::Sender<Result<TxnResponse, Error>>,
}

// === impl Group ===

impl Group {
    /// Like [`Core::commit`], without a guard, for a transaction that may share its revision with
    /// others.
    pub(super) async fn commit(
        self: &Arc<Self>,
        core: &Arc<Core>,
        txn: Txn,
    ) -> Result<TxnResponse, Error> {
        txn.check_size()?;
        let (answer, answered) = oneshot::channel();
        let member = match Member::new(txn, answer) {
            Ok(member) => member,
            Err(txn) => return core.commit(None, txn).await,
        };
        if let Some(members) = self.join(member) {
            // Apart from the caller, who may give up, which is nothing to the others.
            tokio::spawn(self.clone().fly(core.clone(), members));
        }
        let response = answered
            .await
            .unwrap_or_else(|_| Err(Error::CommitUnknown("this replica is stopping".into())))?;
        core.show(&response).await;
        Ok(response)
    }

    async fn fly(self: Arc<Self>, core: Arc<Core>, members: Vec<Member>) {
        let mut next = Some(members);
        while let Some(members) = next {
            carry_out(&core, members).await;
            next = self.land();
        }
    }

    /// Takes in a member; `Some`: these are to go now.
    fn join(&self, member: Member) -> Option<Vec<Member>> {
        let mut waiting = self.waiting();
        waiting.members.push(member);
        if waiting.flights >= FLIGHTS {
            return None;
        }
        waiting.flights += 1;
        Some(waiting.take())
    }

    /// Notes that a transaction was answered; `Some`: these are to go now.
    fn land(&self) -> Option<Vec<Member>> {
        let mut waiting = self.waiting();
        if waiting.members.is_empty() {
            waiting.flights -= 1;
            return None;
        }
        Some(waiting.take())
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn carry_out(core: &Core, members: Vec<Member>) {
    let mut unknown = false;
    if members.len() > 1 {
        let nested = members.iter().map(|member| member.txn.clone());
        let together = nested.fold(Txn::new(), |all, txn| all.then(Operation::Txn(txn)));
        match core.store.txn(together).await {
            Ok(response) if response.responses.len() == members.len() => {
                for (member, nested) in members.into_iter().zip(response.responses) {
                    let OperationResponse::Txn(nested) = nested else {
                        continue;
                    };
                    // A caller that gave up needs no answer.
                    let _ = member.answer.send(Ok(TxnResponse {
                        revision: response.revision,
                        ..nested
                    }));
                }
                return;
            }
            Ok(_) => unknown = true,
            // What stops one (its lease is gone) stops all of them: each goes on by itself.
            Err(error) => {
                unknown = error.outcome() == Outcome::Unknown;
                tracing::debug!(%error, "a group of transactions is sent one by one");
            }
        }
    }
    let alone = members.into_iter().map(|member| async move {
        let sent = core.send_again(member.txn, unknown).await;
        let _ = member.answer.send(sent.map(|sent| sent.response));
    });
    join_all(alone).await;
}

// === impl Waiting ===

impl Waiting {
    /// Takes those who can go together, in the order in which they came.
    fn take(&mut self) -> Vec<Member> {
        let mut group = Vec::new();
        let mut bytes = 0;
        let (mut read, mut written) = (HashSet::new(), HashSet::new());
        let members = std::mem::take(&mut self.members);
        for member in members {
            let fits = group.is_empty() || (group.len() < MEMBERS && bytes + member.bytes <= BYTES);
            let apart = |keys: &[Bytes], others: &HashSet<Bytes>| {
                keys.iter().all(|key| !others.contains(key))
            };
            if fits
                && apart(&member.reads, &written)
                && apart(&member.writes, &written)
                && apart(&member.writes, &read)
            {
                bytes += member.bytes;
                read.extend(member.reads.iter().cloned());
                written.extend(member.writes.iter().cloned());
                group.push(member);
            } else {
                self.members.push(member);
            }
        }
        group
    }
}

// === impl Member ===

impl Member {
    /// A member of a group; gives `txn` back if it is not one of few keys that it names.
    fn new(txn: Txn, answer: oneshot::Sender<Result<TxnResponse, Error>>) -> Result<Self, Txn> {
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
            answer,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &'static str) -> Txn {
        Txn::new()
            .when(Compare::absent(key))
            .then(Operation::put(key, "value"))
            .otherwise(Operation::get(key))
    }

    fn member(txn: Txn) -> Member {
        Member::new(txn, oneshot::channel().0).unwrap_or_else(|_| panic!("no member"))
    }

    fn keys(members: &[Member]) -> Vec<Bytes> {
        members
            .iter()
            .flat_map(|member| member.writes.clone())
            .collect()
    }

    #[test]
    fn who_comes_while_few_are_on_their_way_goes_at_once_and_the_others_go_together() {
        let group = Group::default();
        for key in ["a", "b"] {
            assert_eq!(group.join(member(put(key))).map_or(0, |m| m.len()), 1);
        }
        for key in ["c", "d", "c", "e"] {
            assert!(group.join(member(put(key))).is_none());
        }
        // The second one who wants `c` has to see what came of the first.
        assert_eq!(keys(&group.land().unwrap()), ["c", "d", "e"]);
        assert_eq!(keys(&group.land().unwrap()), ["c"]);
        assert!(group.land().is_none() && group.land().is_none());
        assert_eq!(group.waiting().flights, 0);
    }

    #[test]
    fn nobody_goes_with_one_who_writes_what_it_reads() {
        let mut waiting = Waiting::default();
        let needs_a = put("b").when(Compare::exists("a"));
        let too = put("c").when(Compare::exists("x"));
        let same = put("d").when(Compare::exists("x"));
        waiting.members = [put("a"), needs_a, too, same].map(member).into();
        assert_eq!(keys(&waiting.take()), ["a", "c", "d"]);
        assert_eq!(keys(&waiting.take()), ["b"]);
    }

    #[test]
    fn a_group_is_bounded() {
        let mut waiting = Waiting::default();
        let many = (0..MEMBERS + 1).map(|n| {
            let key = Bytes::from(n.to_string());
            member(Txn::new().then(Operation::put(key, "")))
        });
        waiting.members = many.collect();
        assert_eq!((waiting.take().len(), waiting.take().len()), (MEMBERS, 1));
        let large = |key| member(Txn::new().then(Operation::put(key, vec![0; BYTES])));
        waiting.members = vec![large("a"), large("b")];
        assert_eq!((waiting.take().len(), waiting.take().len()), (1, 1));
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
            assert!(Member::new(txn, oneshot::channel().0).is_err());
        }
    }
}
