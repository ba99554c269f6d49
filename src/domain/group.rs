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
//! written: members may therefore not touch what another one writes. They share a revision: where
//! that tells an order, as among the places of a queue, a member says which keys it has to itself.
//! Whoever would clash with another goes alone, at the same time.
//!
//! The cache shows what a group did all at once, which one task waits for: each member on its own
//! would cost a place in a queue, two timers and a wake-up.
//!
//! While the store is away nobody waits for the failure of another: whoever waited for a flight
//! that failed goes alone at once, and has as long as if it had not waited.

mod member;

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::oneshot;

use crate::store::{self, KeyRange, Operation, OperationResponse, Outcome, Txn, TxnResponse};

use self::member::{Answer, Member};
use super::{Core, error::Error};

/// How many transactions are on their way before others wait to go together. With two, a storm
/// costs 8 % more, etcd's part included, though its transactions are as many.
const FLIGHTS: usize = 1;
/// How many members a group has: nested, each may then still have 64 conditions and steps.
const MEMBERS: usize = 64;
/// How many bytes a group writes: far below the store's limit, so that keys, compares and reads fit
/// beside them.
const BYTES: usize = 512 * 1024;

/// How many may wait to go together: a storm, and not more memory than a few MiB. Whoever finds as
/// many goes alone.
const QUEUE: usize = 4096;

/// The transactions that wait to go together.
#[derive(Default)]
pub(super) struct Group(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    flights: usize,
    members: VecDeque<Member>,
}

/// Members whose transactions were not carried out together.
struct Failed {
    members: Vec<Member>,
    /// Which says if they may have been, all the same.
    error: store::Error,
}

/// Those who are to go now.
#[derive(Default)]
struct Flight {
    together: Vec<Member>,
    /// These clash with them.
    alone: Vec<Member>,
}

/// What becomes of one who comes.
enum Joined {
    /// It waits for the next flight.
    Waits,
    /// It goes now.
    Flies(Flight),
    /// Too many wait already.
    Full(Txn),
}

// === impl Group ===

impl Group {
    /// Like [`Core::commit`], without a guard, for a transaction that may share its revision with
    /// others, but with none that has the range `apart` to itself as well.
    pub(super) async fn commit(
        self: &Arc<Self>,
        core: &Arc<Core>,
        txn: Txn,
        apart: Option<KeyRange>,
    ) -> Result<TxnResponse, Error> {
        txn.check_size()?;
        let (answer, answered) = oneshot::channel();
        let deadline = core.clock.now() + core.settings.commit_timeout;
        let member = match Member::new(txn, apart, deadline, answer) {
            Ok(member) => member,
            Err(txn) => return core.commit(None, txn).await,
        };
        match self.join(member) {
            Joined::Waits => {}
            // Apart from the caller, who may give up, which is nothing to the others.
            Joined::Flies(flight) => {
                tokio::spawn(self.clone().fly(core.clone(), flight));
            }
            Joined::Full(txn) => return core.commit(None, txn).await,
        }
        let Answer { response, shown } = answered
            .await
            .unwrap_or_else(|_| Err(Error::CommitUnknown("this replica is stopping".into())))?;
        if !shown {
            core.show(&response).await;
        }
        Ok(response)
    }

    async fn fly(self: Arc<Self>, core: Arc<Core>, flight: Flight) {
        let mut next = Some(flight);
        while let Some(flight) = next {
            if !flight.alone.is_empty() {
                tokio::spawn(alone(core.clone(), flight.alone, None));
            }
            if let Err(Failed { members, error }) = together(&core, flight.together).await {
                // Nobody waits for the failure of others.
                tokio::spawn(alone(core.clone(), members, Some(error)));
                tokio::spawn(alone(core.clone(), self.scatter(), None));
            }
            next = self.land();
        }
    }

    /// Takes in a member.
    fn join(&self, member: Member) -> Joined {
        let mut waiting = self.waiting();
        if waiting.members.len() >= QUEUE {
            return Joined::Full(member.txn);
        }
        waiting.members.push_back(member);
        if waiting.flights >= FLIGHTS {
            return Joined::Waits;
        }
        waiting.flights += 1;
        Joined::Flies(waiting.take())
    }

    /// Takes all who wait.
    fn scatter(&self) -> Vec<Member> {
        self.waiting().members.drain(..).collect()
    }

    /// Notes that a flight is over; `Some`: these are to go now.
    fn land(&self) -> Option<Flight> {
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

/// Sends members as one, once.
async fn together(core: &Arc<Core>, mut members: Vec<Member>) -> Result<(), Failed> {
    // The first one has waited longest.
    let Some(deadline) = members.first().map(|member| member.deadline) else {
        return Ok(());
    };
    let txn = match members.as_slice() {
        [one] => one.txn.clone(),
        members => {
            let nested = members.iter().map(|member| member.txn.clone());
            nested.fold(Txn::new(), |all, txn| all.then(Operation::Txn(txn)))
        }
    };
    let error = match core.attempt(txn, deadline).await {
        Ok(response) if members.len() == 1 => {
            members.remove(0).tell(Ok(response));
            return Ok(());
        }
        Ok(response) if response.responses.len() == members.len() => {
            // The next group need not wait for the cache.
            tokio::spawn(answer(core.clone(), members, response));
            return Ok(());
        }
        Ok(_) => store::Error::Unavailable {
            message: "the store answered a part of a group".to_owned(),
            outcome: Outcome::Unknown,
        },
        Err(error) if is_final(&error) && members.len() == 1 => {
            members.remove(0).tell(Err(error.into()));
            return Ok(());
        }
        // What stops one (its lease is gone) stops all of them: each goes on by itself.
        Err(error) => {
            tracing::debug!(%error, "a group of transactions is sent one by one");
            error
        }
    };
    Err(Failed { members, error })
}

/// Whether nothing is to be found out any more.
fn is_final(error: &store::Error) -> bool {
    !error.is_transient() && error.outcome() == Outcome::NotDone
}

/// Tells each member what came of it, once the cache shows what they did.
async fn answer(core: Arc<Core>, members: Vec<Member>, response: TxnResponse) {
    let revision = response.revision;
    let mut done = Vec::new();
    for (member, nested) in members.into_iter().zip(response.responses) {
        let OperationResponse::Txn(nested) = nested else {
            continue;
        };
        let succeeded = nested.succeeded;
        let response = TxnResponse { revision, ..nested };
        let told = Answer {
            response,
            shown: true,
        };
        if succeeded {
            done.push((member.answer, told));
        } else {
            // A caller that gave up needs no answer.
            let _ = member.answer.send(Ok(told));
        }
    }
    if let Some((_, first)) = done.first() {
        core.show(&first.response).await;
    }
    for (answer, told) in done {
        let _ = answer.send(Ok(told));
    }
}

/// Sends members one by one, all at the same time; an earlier attempt may have `failed`.
async fn alone(core: Arc<Core>, members: Vec<Member>, failed: Option<store::Error>) {
    let (core, failed) = (&core, &failed);
    let sent = members.into_iter().map(|mut member| async move {
        let txn = std::mem::take(&mut member.txn);
        tokio::select! {
            sent = core.send_again(txn, failed.clone(), member.deadline) => {
                member.tell(sent.map(|sent| sent.response));
            }
            // Nobody waits for it any more.
            () = member.answer.closed() => {}
        }
    });
    join_all(sent).await;
}

// === impl Waiting ===

impl Waiting {
    /// Takes those who can go together, in the order in which they came, and who clashes with them.
    fn take(&mut self) -> Flight {
        let mut flight = Flight::default();
        let mut bytes = 0;
        let (mut read, mut written) = (HashSet::new(), HashSet::new());
        let clash =
            |keys: &[Bytes], others: &HashSet<Bytes>| keys.iter().any(|key| others.contains(key));
        while flight.together.len() < MEMBERS
            && let Some(member) = self.members.pop_front()
        {
            if member.answer.is_closed() {
                continue;
            }
            if clash(&member.reads, &written)
                || clash(&member.writes, &written)
                || clash(&member.writes, &read)
            {
                flight.alone.push(member);
                continue;
            }
            bytes += member.bytes;
            if bytes > BYTES && !flight.together.is_empty() {
                self.members.push_front(member);
                break;
            }
            read.extend(member.reads.iter().cloned());
            written.extend(member.writes.iter().cloned());
            flight.together.push(member);
        }
        flight
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::store::Compare;

    fn put(key: &'static str) -> Txn {
        Txn::new()
            .when(Compare::absent(key))
            .then(Operation::put(key, "value"))
            .otherwise(Operation::get(key))
    }

    fn member(txn: Txn) -> Member {
        member_apart(txn, None)
    }

    /// One whose caller waits for ever.
    fn member_apart(txn: Txn, apart: Option<KeyRange>) -> Member {
        let (answer, answered) = oneshot::channel();
        std::mem::forget(answered);
        Member::new(txn, apart, Instant::now(), answer).unwrap_or_else(|_| panic!("no member"))
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
        let first = group.join(member(put("a")));
        assert!(matches!(first, Joined::Flies(flight) if keys(&flight.together) == ["a"]));
        for key in ["c", "d", "c", "e"] {
            assert!(matches!(group.join(member(put(key))), Joined::Waits));
        }
        let flight = group.land().unwrap();
        assert_eq!(keys(&flight.together), ["c", "d", "e"]);
        assert_eq!(keys(&flight.alone), ["c"]);
        assert!(group.land().is_none());
        assert_eq!(group.waiting().flights, 0);
    }

    #[test]
    fn who_gave_up_while_it_waited_does_not_go() {
        let mut waiting = Waiting::default();
        let (answer, answered) = oneshot::channel();
        let gone = Member::new(put("a"), None, Instant::now(), answer);
        waiting.members.extend(gone.ok());
        waiting.members.push_back(member(put("b")));
        drop(answered);
        assert_eq!(keys(&waiting.take().together), ["b"]);
        assert!(waiting.members.is_empty());
    }

    #[test]
    fn no_two_go_together_that_want_the_same_range_to_themselves() {
        let mut waiting = Waiting::default();
        let place = |key| member_apart(put(key), Some(KeyRange::prefix(&key[..2])));
        waiting.members = ["a/1", "b/1", "a/2"].map(place).into();
        let flight = waiting.take();
        assert_eq!(keys(&flight.together), ["a/1", "a/", "b/1", "b/"]);
        assert_eq!(keys(&flight.alone), ["a/2", "a/"]);
    }

    #[test]
    fn all_who_wait_for_a_flight_that_fails_go_at_once_and_no_more_wait_than_have_room() {
        let group = Group::default();
        for _ in 0..FLIGHTS + QUEUE {
            assert!(!matches!(group.join(member(put("a"))), Joined::Full(_)));
        }
        assert!(matches!(group.join(member(put("a"))), Joined::Full(_)));
        assert_eq!(group.scatter().len(), QUEUE);
        assert!(group.land().is_none());
    }

    #[test]
    fn nobody_goes_with_one_who_writes_what_it_reads() {
        let mut waiting = Waiting::default();
        let needs_a = put("b").when(Compare::exists("a"));
        let too = put("c").when(Compare::exists("x"));
        let same = put("d").when(Compare::exists("x"));
        waiting.members = [put("a"), needs_a, too, same].map(member).into();
        let flight = waiting.take();
        assert_eq!(keys(&flight.together), ["a", "c", "d"]);
        assert_eq!(keys(&flight.alone), ["b"]);
    }

    #[test]
    fn a_group_is_bounded() {
        let mut waiting = Waiting::default();
        let many = (0..MEMBERS + 1).map(|n| {
            let key = Bytes::from(n.to_string());
            member(Txn::new().then(Operation::put(key, "")))
        });
        waiting.members = many.collect();
        let take = |waiting: &mut Waiting| waiting.take().together.len();
        assert_eq!((take(&mut waiting), take(&mut waiting)), (MEMBERS, 1));
        let large = |key| member(Txn::new().then(Operation::put(key, vec![0; BYTES])));
        waiting.members = [large("a"), large("b")].into();
        assert_eq!((take(&mut waiting), take(&mut waiting)), (1, 1));
    }
}
