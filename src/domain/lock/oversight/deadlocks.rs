//! Sessions that wait for each other, found in one state.
//!
//! A session waits for a lock, the lock for whoever holds it. First everything goes that waits for
//! nothing: what is left leads into a ring wherever one follows it. Each session is followed once,
//! so that the work grows with the claims and not with the ways through them.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::domain::{
    lock::{Claim, LockQueue},
    session_id::SessionId,
    state::State,
};

/// A ring of sessions.
pub type Deadlock = Vec<Wait>;

/// A session waits for a lock that another one holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// The claim that waits.
    pub waiter: Arc<Claim>,
    /// The claim that holds the lock.
    pub holder: Arc<Claim>,
}

/// Finds rings of sessions of which each waits for the next; no session is in two of them. At most
/// `limit`, and whether there are more.
pub fn deadlocks(state: &State, limit: usize) -> (Vec<Deadlock>, bool) {
    let mut waits: HashMap<SessionId, Vec<Wait>> = HashMap::new();
    for queue in state.locks.values() {
        for wait in waits_in(queue) {
            waits
                .entry(wait.waiter.waiter.session)
                .or_default()
                .push(wait);
        }
    }
    drop_who_gets_on(&mut waits);
    let mut starts: Vec<_> = waits.keys().copied().collect();
    starts.sort_unstable();
    let mut found = Vec::new();
    let mut followed = HashSet::new();
    for start in starts {
        if let Some(ring) = follow(&waits, start, &mut followed) {
            if found.len() == limit {
                return (found, true);
            }
            found.push(ring);
        }
    }
    (found, false)
}

/// Who waits for whom in one queue: each who waits for each who holds, but for threads of one
/// session, which wait for each other all the time. Whoever waits also waits for those before it,
/// who wait for the same holders.
fn waits_in(queue: &LockQueue) -> impl Iterator<Item = Wait> {
    let waiters = queue.claims.values().filter(|claim| !claim.held);
    waiters.flat_map(|waiter| {
        let session = waiter.waiter.session;
        let others = queue
            .holders()
            .filter(move |holder| holder.waiter.session != session);
        others.map(|holder| Wait {
            waiter: waiter.clone(),
            holder: holder.clone(),
        })
    })
}

/// Takes out the waits for sessions that wait for nothing, until none is left.
fn drop_who_gets_on(waits: &mut HashMap<SessionId, Vec<Wait>>) {
    let mut waited_for: HashMap<SessionId, Vec<SessionId>> = HashMap::new();
    for wait in waits.values().flatten() {
        let waiters = waited_for.entry(wait.holder.waiter.session).or_default();
        waiters.push(wait.waiter.waiter.session);
    }
    let gets_on = |session: &&SessionId| !waits.contains_key(session);
    let mut get_on: Vec<_> = waited_for.keys().filter(gets_on).copied().collect();
    while let Some(session) = get_on.pop() {
        for waiter in waited_for.remove(&session).unwrap_or_default() {
            let Some(left) = waits.get_mut(&waiter) else {
                continue;
            };
            left.retain(|wait| wait.holder.waiter.session != session);
            if left.is_empty() {
                waits.remove(&waiter);
                get_on.push(waiter);
            }
        }
    }
}

/// Follows the first wait of each session from `start`, to where it has been on this way.
fn follow(
    waits: &HashMap<SessionId, Vec<Wait>>,
    start: SessionId,
    followed: &mut HashSet<SessionId>,
) -> Option<Deadlock> {
    let mut way: Vec<Wait> = Vec::new();
    let mut at = start;
    while followed.insert(at) {
        let wait = waits.get(&at)?.first()?;
        way.push(wait.clone());
        at = wait.holder.waiter.session;
    }
    let begins = way
        .iter()
        .position(|wait| wait.waiter.waiter.session == at)?;
    Some(way.split_off(begins))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::domain::{
        keyspace::{QueueKind, QueuePath},
        lock::Waiter,
    };

    /// The claims on each lock, in order, by session; the first one holds it.
    fn state(sessions: &[SessionId], locks: &[(&str, &[usize])]) -> State {
        let mut state = State::default();
        for (name, claims) in locks {
            let path = QueuePath::parse(QueueKind::Lock, name).unwrap();
            let mut queue = LockQueue::new(path.clone());
            for (place, session) in claims.iter().enumerate() {
                let key = Bytes::from(format!("{name}/{place}"));
                let revision = place as i64 + 1;
                let claim = Claim {
                    lock: path.clone(),
                    held: place == 0,
                    visible_revision: 1,
                    waiter: Waiter::unreadable(key, sessions[*session], revision, revision),
                };
                queue.claims.insert(claim.waiter.place(), Arc::new(claim));
            }
            state
                .locks
                .insert(Bytes::from(path.path()), Arc::new(queue));
        }
        state
    }

    /// Has the first of the claims on a lock hold it together.
    fn share(state: &mut State, name: &str, holders: usize) {
        let mut queue = LockQueue::clone(&state.locks[name.as_bytes()]);
        for claim in queue.claims.clone().into_iter().take(holders) {
            let (place, claim) = claim;
            let held = Claim {
                held: true,
                ..Claim::clone(&claim)
            };
            queue.claims.insert(place, Arc::new(held));
        }
        let path = Bytes::copy_from_slice(name.as_bytes());
        state.locks.insert(path, Arc::new(queue));
    }

    /// The rings, as sets of what is waited for.
    fn found(locks: &[(&str, &[usize])]) -> Vec<Vec<String>> {
        let sessions: Vec<_> = (0..10).map(|_| SessionId::random()).collect();
        rings(&state(&sessions, locks))
    }

    fn rings(state: &State) -> Vec<Vec<String>> {
        let (found, _) = deadlocks(state, 100);
        let mut rings: Vec<Vec<String>> = found
            .iter()
            .map(|ring| {
                for (wait, next) in ring.iter().zip(ring.iter().cycle().skip(1)) {
                    assert_eq!(wait.holder.waiter.session, next.waiter.waiter.session);
                }
                let mut names: Vec<_> = ring.iter().map(|wait| wait.waiter.lock.path()).collect();
                names.sort();
                names
            })
            .collect();
        rings.sort();
        rings
    }

    #[test]
    fn a_ring_is_found_and_a_chain_is_none() {
        assert_eq!(
            found(&[("d/a", &[0, 1]), ("d/b", &[1, 0])]),
            [["d/a", "d/b"]]
        );
        assert_eq!(
            found(&[("d/a", &[0, 1]), ("d/b", &[1, 2]), ("e/c", &[2, 0])]),
            [["d/a", "d/b", "e/c"]]
        );
        let none: [[&str; 0]; 0] = [];
        assert_eq!(found(&[("d/a", &[0, 1, 2]), ("d/b", &[1, 2])]), none);
    }

    #[test]
    fn threads_of_one_session_are_no_deadlock() {
        let none: [[&str; 0]; 0] = [];
        assert_eq!(found(&[("d/a", &[0, 0]), ("d/b", &[0, 1])]), none);
    }

    #[test]
    fn a_ring_behind_waits_that_get_on_is_found_and_so_is_each_of_two() {
        // Session 0 waits for 3, too, who gets on.
        let locks: [(&str, &[usize]); 3] = [("d/0", &[3, 0]), ("d/a", &[0, 1]), ("d/b", &[1, 0])];
        assert_eq!(found(&locks), [["d/a", "d/b"]]);
        let locks: [(&str, &[usize]); 5] = [
            ("d/a", &[0, 1, 4]),
            ("d/b", &[1, 0]),
            ("d/c", &[2, 3]),
            ("d/d", &[3, 2]),
            ("d/e", &[4, 5]),
        ];
        assert_eq!(found(&locks), [["d/a", "d/b"], ["d/c", "d/d"]]);
    }

    #[test]
    fn a_ring_through_any_of_several_holders_is_found() {
        let sessions: Vec<_> = (0..4).map(|_| SessionId::random()).collect();
        // Two read, of whom the second waits for who waits to write.
        let locks: [(&str, &[usize]); 2] = [("d/x", &[0, 1, 2]), ("d/y", &[2, 1])];
        let mut reading = state(&sessions, &locks);
        share(&mut reading, "d/x", 2);
        assert_eq!(rings(&reading), [["d/x", "d/y"]]);
        // Two read, and each waits to write.
        let mut upgrading = state(&sessions, &[("d/x", &[0, 1, 0, 1])]);
        share(&mut upgrading, "d/x", 2);
        assert_eq!(rings(&upgrading), [["d/x", "d/x"]]);
    }

    #[test]
    fn no_more_are_told_than_asked_for() {
        let sessions: Vec<_> = (0..4).map(|_| SessionId::random()).collect();
        let locks: [(&str, &[usize]); 4] = [
            ("d/a", &[0, 1]),
            ("d/b", &[1, 0]),
            ("d/c", &[2, 3]),
            ("d/d", &[3, 2]),
        ];
        let state = state(&sessions, &locks);
        let (some, more) = deadlocks(&state, 1);
        assert_eq!((some.len(), more), (1, true));
        let (all, more) = deadlocks(&state, 2);
        assert_eq!((all.len(), more), (2, false));
    }
}
