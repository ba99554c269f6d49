//! Which suspects are due for removal when: a queue of times, bounded by what is registered.

use std::{
    collections::{BTreeSet, HashMap},
    time::Instant,
};

use bytes::Bytes;

use crate::domain::session_id::SessionId;

/// The suspects, each with the time from which its grace counts and the time to look at it.
#[derive(Debug, Default)]
pub(super) struct Queue {
    suspects: HashMap<Bytes, Suspect>,
    due: BTreeSet<(Instant, Bytes)>,
}

/// One instance whose session is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Suspect {
    /// The session that is gone.
    pub session: Option<SessionId>,
    /// When this replica saw that, or last had reason to begin counting anew.
    pub since: Instant,
    due: Instant,
}

// === impl Queue ===

impl Queue {
    /// Notes a suspect that is due at `due`. One that is known keeps its time, unless it has become
    /// suspect anew by the loss of another session.
    pub(super) fn note(
        &mut self,
        path: Bytes,
        session: Option<SessionId>,
        since: Instant,
        due: Instant,
    ) {
        if self
            .suspects
            .get(&path)
            .is_some_and(|known| known.session == session)
        {
            return;
        }
        self.forget(&path);
        self.due.insert((due, path.clone()));
        let suspect = Suspect {
            session,
            since,
            due,
        };
        self.suspects.insert(path, suspect);
    }

    /// Drops what is no suspect any more.
    pub(super) fn forget(&mut self, path: &Bytes) {
        if let Some(known) = self.suspects.remove(path) {
            self.due.remove(&(known.due, path.clone()));
        }
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        self.suspects.clear();
        self.due.clear();
    }

    /// Begins to count anew for everything.
    pub(super) fn restart(&mut self, since: Instant, due: Instant) {
        self.due.clear();
        for (path, suspect) in &mut self.suspects {
            suspect.since = since;
            suspect.due = due;
            self.due.insert((due, path.clone()));
        }
    }

    /// Looks at a suspect again later.
    pub(super) fn postpone(&mut self, path: &Bytes, due: Instant) {
        if let Some(suspect) = self.suspects.get_mut(path) {
            self.due.remove(&(suspect.due, path.clone()));
            suspect.due = due;
            self.due.insert((due, path.clone()));
        }
    }

    /// When the first one is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// At most `limit` of those that are due at `now`.
    pub(super) fn due(&self, now: Instant, limit: usize) -> Vec<(Bytes, Suspect)> {
        self.due
            .iter()
            .take_while(|(due, _)| *due <= now)
            .take(limit)
            .filter_map(|(_, path)| Some((path.clone(), *self.suspects.get(path)?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_suspect_keeps_its_time_until_another_session_is_lost() {
        let mut queue = Queue::default();
        let (first, second) = (Some(SessionId::random()), Some(SessionId::random()));
        let path = Bytes::from("default/web/1");
        let at = |seconds| Instant::now() + Duration::from_secs(seconds);
        let (early, later) = (at(10), at(20));
        queue.note(path.clone(), first, early, early);
        queue.note(path.clone(), first, later, later);
        assert_eq!(queue.next_due(), Some(early));
        queue.note(path.clone(), second, later, later);
        assert_eq!(queue.next_due(), Some(later));
        assert!(queue.due(early, 10).is_empty());
        assert_eq!(queue.due(later, 10).len(), 1);
        queue.postpone(&path, at(30));
        assert!(queue.due(later, 10).is_empty());
        queue.restart(early, early);
        assert_eq!(queue.due(early, 10)[0].1.since, early);
        queue.forget(&path);
        assert_eq!(queue.next_due(), None);
    }
}
