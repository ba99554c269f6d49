//! Which checks this replica makes, and where each stands.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Instant, SystemTime},
};

use bytes::Bytes;

use crate::domain::{
    keyspace::InstanceKey,
    registry::{HealthCheck, InstanceRecord, Registration, Source},
    state::State,
};

use super::{
    probe::Target,
    schedule::{self, CheckId, Schedule},
    thresholds::Streak,
};

/// The checks of this replica.
#[derive(Default)]
pub(super) struct Plan {
    checks: HashMap<CheckId, Planned>,
    by_instance: HashMap<Bytes, Vec<CheckId>>,
    schedule: Schedule,
    next_id: CheckId,
}

/// One check of one instance.
pub(super) struct Planned {
    pub(super) subject: Arc<Subject>,
    pub(super) streak: Streak,
    /// It was not made yet, and nothing is known of it.
    is_new: bool,
    /// When it is made next; none while it is being made.
    due: Option<Instant>,
}

/// What is checked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) key: InstanceKey,
    pub(super) registration: Registration,
    pub(super) check: HealthCheck,
    pub(super) target: Target,
    /// [`HealthCheck::target`].
    pub(super) digest: u64,
}

// === impl Plan ===

impl Plan {
    /// How many checks there are.
    pub(super) fn len(&self) -> usize {
        self.checks.len()
    }

    /// When the next one is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.schedule.next()
    }

    /// Takes the next check that is due, to be made now.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Instant, CheckId, Arc<Subject>)> {
        loop {
            let (due, id) = self.schedule.pop(now)?;
            if let Some(planned) = self.checks.get_mut(&id) {
                planned.due = None;
                return Some((due, id, planned.subject.clone()));
            }
        }
    }

    /// The check, if it is still this replica's.
    pub(super) fn get_mut(&mut self, id: CheckId) -> Option<&mut Planned> {
        self.checks.get_mut(&id)
    }

    /// Says whether a check was made for the first time just now.
    pub(super) fn was_first(&mut self, id: CheckId) -> bool {
        let planned = self.checks.get_mut(&id);
        planned.is_some_and(|planned| std::mem::take(&mut planned.is_new))
    }

    /// Has a check that was made be made again, at `due`.
    pub(super) fn again(&mut self, id: CheckId, due: Instant) {
        if let Some(planned) = self.checks.get_mut(&id) {
            planned.due = Some(due);
            self.schedule.add(due, id);
        }
    }

    /// Drops the checks of all instances but those that `stays` takes.
    pub(super) fn retain(&mut self, stays: impl Fn(&Bytes) -> bool) {
        let gone = self.by_instance.keys().filter(|path| !stays(path));
        for path in gone.cloned().collect::<Vec<_>>() {
            self.drop_instance(&path);
        }
    }

    /// Drops the checks of an instance.
    pub(super) fn drop_instance(&mut self, path: &Bytes) {
        for id in self.by_instance.remove(path).unwrap_or_default() {
            self.drop_check(id);
        }
    }

    /// Plans the checks of an instance as `state` says. Those that stay the same go on.
    pub(super) fn plan(
        &mut self,
        path: &Bytes,
        record: &InstanceRecord,
        state: &State,
        (now, time): (Instant, SystemTime),
    ) {
        let checks = state.checks_of(record);
        let before = self.by_instance.remove(path).unwrap_or_default();
        let mut ids = Vec::with_capacity(checks.len());
        for check in checks {
            let subject = Subject::new(record, check);
            let same = |id: &&CheckId| self.checks.get(id).is_some_and(|p| *p.subject == subject);
            ids.push(match before.iter().find(same) {
                Some(id) => *id,
                None => self.begin(path, record, subject, state, (now, time)),
            });
        }
        for id in before.into_iter().filter(|id| !ids.contains(id)) {
            self.drop_check(id);
        }
        self.by_instance.insert(path.clone(), ids);
    }

    fn begin(
        &mut self,
        path: &Bytes,
        record: &InstanceRecord,
        subject: Subject,
        state: &State,
        (now, time): (Instant, SystemTime),
    ) -> CheckId {
        let id = self.next_id;
        self.next_id += 1;
        let verdict = subject.verdict(path, state);
        let age = time.duration_since(record.register_time);
        let wait = schedule::first(&subject.check, verdict.is_some(), age.unwrap_or_default());
        let planned = Planned {
            subject: Arc::new(subject),
            streak: Streak::from(verdict),
            is_new: verdict.is_none(),
            due: None,
        };
        self.checks.insert(id, planned);
        self.again(id, now + wait);
        id
    }

    fn drop_check(&mut self, id: CheckId) {
        if let Some(due) = self.checks.remove(&id).and_then(|planned| planned.due) {
            self.schedule.remove(due, id);
        }
    }
}

// === impl Subject ===

impl Subject {
    fn new(record: &InstanceRecord, check: &HealthCheck) -> Self {
        Self {
            key: record.key.clone(),
            registration: record.registration(),
            target: Target {
                host: record.spec.address.clone(),
                port: check.kind.port().of(&record.spec),
            },
            digest: check.target(&record.spec),
            check: check.clone(),
        }
    }

    /// Who finds what this check finds.
    pub(super) fn source(&self) -> Source {
        Source::Check {
            name: self.check.name.clone(),
            target: self.digest,
        }
    }

    /// What all replicas know of it: whether it passes.
    pub(super) fn verdict(&self, path: &[u8], state: &State) -> Option<bool> {
        let findings = state.health.get(path)?;
        if findings.registration != self.registration {
            return None;
        }
        let source = self.source();
        let found = findings.findings.iter().find(|f| f.source == source);
        found.map(|finding| finding.passing)
    }
}
