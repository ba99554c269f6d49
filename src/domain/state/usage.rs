//! What hangs on sessions, and what is in each namespace, counted as it comes and goes: a quota is
//! looked at for every registration.

use std::collections::BTreeSet;

use bytes::Bytes;
use imbl::OrdMap;

use crate::{
    cache::Change,
    domain::{
        keyspace::{QueueKind, QueuePath},
        names::Namespace,
        session_id::SessionId,
    },
};

use super::{Item, Owned, State, StateProjection};

/// What is in a namespace.
#[derive(Debug, Clone, Default)]
pub struct Usage {
    /// Instances.
    pub instances: usize,
    /// Services that have instances.
    pub services: usize,
    /// Config items that are not deleted.
    pub configs: usize,
    /// Locks that somebody wants.
    pub locks: usize,
    /// Elections that somebody leads or wants to.
    pub elections: usize,
    /// Barriers at which somebody waits.
    pub barriers: usize,
    /// Latches.
    pub latches: usize,
    /// Live sessions that have an instance, a place in a queue or one at a barrier in it.
    pub sessions: usize,
    /// How many of those each session has, live or not.
    owners: OrdMap<SessionId, usize>,
}

/// One of the numbers of [`Usage`].
type Number = fn(&mut Usage) -> &mut usize;

// === impl Usage ===

impl Usage {
    /// How many things of the namespace hang on a session.
    pub fn of_session(&self, session: SessionId) -> usize {
        self.owners.get(&session).copied().unwrap_or_default()
    }

    fn is_empty(&self) -> bool {
        let waited_for = self.locks + self.elections + self.barriers + self.latches;
        let things = self.instances + self.services + self.configs + waited_for;
        things == 0 && self.owners.is_empty()
    }
}

// === impl Owned ===

impl Owned {
    fn namespace(&self) -> Bytes {
        match self {
            Self::Instance(path) => namespace_of(path),
            Self::Waiter(queue, _) => namespace_of(queue.namespace.as_str().as_bytes()),
            Self::Participant(barrier, _) => namespace_of(barrier.namespace.as_str().as_bytes()),
        }
    }
}

// === impl State ===

impl State {
    /// What is in a namespace.
    pub fn usage_of(&self, namespace: &Namespace) -> Option<&Usage> {
        self.usage.get(namespace.as_str().as_bytes())
    }

    /// Notes what hangs on a session; says whether it did already.
    pub(super) fn own(&mut self, session: SessionId, owned: Owned) -> bool {
        let namespace = owned.namespace();
        let known = self.owned.entry(session).or_default().insert(owned);
        if known.is_some() {
            return true;
        }
        let lives = self.sessions.contains_key(&session);
        self.count_in(&namespace, |usage| {
            let things = usage.owners.entry(session).or_insert(0);
            *things += 1;
            if *things == 1 && lives {
                usage.sessions += 1;
            }
        });
        false
    }

    pub(super) fn disown(&mut self, session: SessionId, owned: &Owned) {
        let Some(set) = self.owned.get_mut(&session) else {
            return;
        };
        let known = set.remove(owned).is_some();
        if set.is_empty() {
            self.owned.remove(&session);
        }
        if !known {
            return;
        }
        let lives = self.sessions.contains_key(&session);
        self.count_in(&owned.namespace(), |usage| {
            let left = usage.of_session(session).saturating_sub(1);
            if left > 0 {
                usage.owners.insert(session, left);
            } else {
                usage.owners.remove(&session);
                usage.sessions -= usize::from(lives);
            }
        });
    }

    /// A session came into being: what hangs on it does not hang on a dead one.
    pub(super) fn session_came(&mut self, session: SessionId) {
        for namespace in self.namespaces_of(session) {
            self.count_in(&namespace, |usage| usage.sessions += 1);
        }
    }

    /// A session is gone.
    pub(super) fn session_went(&mut self, session: SessionId) {
        for namespace in self.namespaces_of(session) {
            self.count_in(&namespace, |usage| usage.sessions -= 1);
        }
    }

    /// A lock or an election came, or went.
    pub(super) fn count_queue(&mut self, path: &QueuePath, came: bool) {
        let number: Number = match path.kind {
            QueueKind::Lock => |usage| &mut usage.locks,
            QueueKind::Election => |usage| &mut usage.elections,
        };
        let namespace = Bytes::copy_from_slice(path.namespace.as_str().as_bytes());
        self.count_in(&namespace, |usage| step(number(usage), came));
    }

    /// The first one came to a barrier, or the last one went.
    pub(super) fn count_barrier(&mut self, path: &Bytes, came: bool) {
        self.count_in(&namespace_of(path), |usage| {
            step(&mut usage.barriers, came);
        });
    }

    /// A latch came, or went.
    pub(super) fn count_latch(&mut self, path: &Bytes, came: bool) {
        self.count_in(&namespace_of(path), |usage| {
            step(&mut usage.latches, came);
        });
    }

    /// The instances, services and configs that came, and those that went.
    pub(super) fn count_changes(&mut self, changes: &[Change<StateProjection>]) {
        for change in changes {
            let came = change.after.is_some();
            if came == change.before.is_some() {
                continue;
            }
            let number: Number = match change.after.as_ref().or(change.before.as_ref()) {
                Some(Item::Instance(_)) => |usage| &mut usage.instances,
                Some(Item::Service(_)) => |usage| &mut usage.services,
                Some(Item::Config(_)) => |usage| &mut usage.configs,
                _ => continue,
            };
            self.count_in(&namespace_of(&change.key), |usage| {
                step(number(usage), came);
            });
        }
    }

    fn namespaces_of(&self, session: SessionId) -> BTreeSet<Bytes> {
        let owned = self.owned.get(&session).into_iter().flatten();
        owned.map(Owned::namespace).collect()
    }

    fn count_in(&mut self, namespace: &Bytes, count: impl FnOnce(&mut Usage)) {
        let Some(usage) = self.usage.get_mut(namespace) else {
            let mut usage = Usage::default();
            count(&mut usage);
            self.usage.insert(namespace.clone(), usage);
            return;
        };
        count(usage);
        if usage.is_empty() {
            self.usage.remove(namespace);
        }
    }
}

fn step(number: &mut usize, up: bool) {
    *number = if up {
        *number + 1
    } else {
        number.saturating_sub(1)
    };
}

/// The namespace in a path. Its own bytes, so that it does not keep the path.
fn namespace_of(path: &[u8]) -> Bytes {
    let end = path.iter().position(|&byte| byte == b'/');
    Bytes::copy_from_slice(&path[..end.unwrap_or(path.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_sessions_are_counted_once_in_each_namespace_they_use() {
        let mut state = State::default();
        let session = SessionId::random();
        let thing = |path: &'static str| Owned::Instance(path.into());
        let sessions = |state: &State| {
            let of = |name: &'static [u8]| state.usage.get(name).map(|usage| usage.sessions);
            (of(b"a"), of(b"b"))
        };
        state.own(session, thing("a/web/1"));
        state.own(session, thing("a/web/1"));
        state.own(session, thing("a/web/2"));
        state.own(session, thing("b/web/1"));
        assert_eq!(sessions(&state), (Some(0), Some(0)), "it is not there");
        state.session_came(session);
        assert_eq!(sessions(&state), (Some(1), Some(1)));
        state.session_went(session);
        state.disown(session, &thing("a/web/1"));
        assert_eq!(sessions(&state), (Some(0), Some(0)));
        state.disown(session, &thing("a/web/2"));
        state.disown(session, &thing("a/web/2"));
        state.disown(session, &thing("b/web/1"));
        assert!(state.usage.is_empty() && state.owned.is_empty());
    }
}
