//! Who waits to go to the store with others, and who goes next.

use std::collections::VecDeque;

use bytes::Bytes;
use foldhash::{HashSet, HashSetExt as _};

use super::member::Member;
use crate::store::Txn;

/// How many transactions are on their way before others wait to go together. With two, a storm
/// costs 8 % more, etcd's part included, though its transactions are as many.
const FLIGHTS: usize = 1;
/// How many members a group has: nested, each may then still have 64 conditions and steps.
const MEMBERS: usize = 64;
/// How many keys most members read, and how many they write.
const KEYS: usize = 4;
/// How many bytes a group writes: far below the store's limit, so that keys, compares and reads fit
/// beside them.
const BYTES: usize = 512 * 1024;

/// How many may wait to go together: a storm, and not more memory than a few MiB. Whoever finds as
/// many goes alone.
const QUEUE: usize = 4096;

/// Those who wait.
#[derive(Default)]
pub(super) struct Queue {
    flights: usize,
    members: VecDeque<Member>,
}

/// Those who are to go now.
#[derive(Default)]
pub(super) struct Flight {
    pub(super) together: Vec<Member>,
    /// These clash with them.
    pub(super) alone: Vec<Member>,
}

/// What becomes of one who comes.
pub(super) enum Joined {
    /// It waits for the next flight.
    Waits,
    /// It goes now.
    Flies(Flight),
    /// Too many wait already.
    Full(Txn),
}

// === impl Queue ===

impl Queue {
    /// Takes in a member.
    pub(super) fn join(&mut self, member: Member) -> Joined {
        if self.members.len() >= QUEUE {
            return Joined::Full(member.txn);
        }
        self.members.push_back(member);
        if self.flights >= FLIGHTS {
            return Joined::Waits;
        }
        self.flights += 1;
        Joined::Flies(self.take())
    }

    /// Takes all who wait.
    pub(super) fn scatter(&mut self) -> Vec<Member> {
        self.members.drain(..).collect()
    }

    /// Notes that a flight is over; `Some`: these are to go now.
    pub(super) fn land(&mut self) -> Option<Flight> {
        if self.members.is_empty() {
            self.flights -= 1;
            return None;
        }
        Some(self.take())
    }

    /// Takes those who can go together, in the order in which they came, and who clashes with them.
    fn take(&mut self) -> Flight {
        let mut flight = Flight::default();
        let mut bytes = 0;
        let room = self.members.len().min(MEMBERS) * KEYS;
        let (mut read, mut written) = (HashSet::with_capacity(room), HashSet::with_capacity(room));
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
            // Nobody comes after the last one who could clash with it.
            if !self.members.is_empty() {
                read.extend(member.reads.iter().cloned());
                written.extend(member.writes.iter().cloned());
            }
            flight.together.push(member);
        }
        flight
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::sync::oneshot;

    use super::*;
    use crate::store::{Compare, KeyRange, Operation};

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
        let member = Member::new(txn, apart, Instant::now(), true, answer);
        member.unwrap_or_else(|_| panic!("no member"))
    }

    fn keys(members: &[Member]) -> Vec<Bytes> {
        members
            .iter()
            .flat_map(|member| member.writes.clone())
            .collect()
    }

    #[test]
    fn who_comes_while_few_are_on_their_way_goes_at_once_and_the_others_go_together() {
        let mut group = Queue::default();
        let first = group.join(member(put("a")));
        assert!(matches!(first, Joined::Flies(flight) if keys(&flight.together) == ["a"]));
        for key in ["c", "d", "c", "e"] {
            assert!(matches!(group.join(member(put(key))), Joined::Waits));
        }
        let flight = group.land().unwrap();
        assert_eq!(keys(&flight.together), ["c", "d", "e"]);
        assert_eq!(keys(&flight.alone), ["c"]);
        assert!(group.land().is_none());
        assert_eq!(group.flights, 0);
    }

    #[test]
    fn who_gave_up_while_it_waited_does_not_go() {
        let mut waiting = Queue::default();
        let (answer, answered) = oneshot::channel();
        let gone = Member::new(put("a"), None, Instant::now(), true, answer);
        waiting.members.extend(gone.ok());
        waiting.members.push_back(member(put("b")));
        drop(answered);
        assert_eq!(keys(&waiting.take().together), ["b"]);
        assert!(waiting.members.is_empty());
    }

    #[test]
    fn no_two_go_together_that_want_the_same_range_to_themselves() {
        let mut waiting = Queue::default();
        let place = |key| member_apart(put(key), Some(KeyRange::prefix(&key[..2])));
        waiting.members = ["a/1", "b/1", "a/2"].map(place).into();
        let flight = waiting.take();
        assert_eq!(keys(&flight.together), ["a/1", "a/", "b/1", "b/"]);
        assert_eq!(keys(&flight.alone), ["a/2", "a/"]);
    }

    #[test]
    fn all_who_wait_for_a_flight_that_fails_go_at_once_and_no_more_wait_than_have_room() {
        let mut group = Queue::default();
        for _ in 0..FLIGHTS + QUEUE {
            assert!(!matches!(group.join(member(put("a"))), Joined::Full(_)));
        }
        assert!(matches!(group.join(member(put("a"))), Joined::Full(_)));
        assert_eq!(group.scatter().len(), QUEUE);
        assert!(group.land().is_none());
    }

    #[test]
    fn nobody_goes_with_one_who_writes_what_it_reads() {
        let mut waiting = Queue::default();
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
        let mut waiting = Queue::default();
        let many = (0..MEMBERS + 1).map(|n| {
            let key = Bytes::from(n.to_string());
            member(Txn::new().then(Operation::put(key, "")))
        });
        waiting.members = many.collect();
        let take = |waiting: &mut Queue| waiting.take().together.len();
        assert_eq!((take(&mut waiting), take(&mut waiting)), (MEMBERS, 1));
        let large = |key| member(Txn::new().then(Operation::put(key, vec![0; BYTES])));
        waiting.members = [large("a"), large("b")].into();
        assert_eq!((take(&mut waiting), take(&mut waiting)), (1, 1));
    }
}
