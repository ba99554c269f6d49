//! The task that makes this replica's checks.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use imbl::OrdMap;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    domain::{
        Core, Error,
        names::ReplicaId,
        registry::{Instance, Note, Observation, Registry},
        replica::{Replica, rank},
        state::{Kind, State, View},
        watch::Followed,
    },
};

use super::{
    CheckMetrics, Failure, Prober, Settings,
    plan::{Plan, Subject},
    schedule::{self, CheckId},
};

/// How often is looked whether replicas came or went.
const LOOK: Duration = Duration::from_millis(500);
/// How late a check may be before that is counted.
const LATE: Duration = Duration::from_secs(1);

/// Makes the checks of the instances that fall to this replica.
pub struct Checks {
    core: Arc<Core>,
    registry: Registry,
    prober: Arc<Prober>,
    metrics: CheckMetrics,
    concurrency: usize,
    plan: Plan,
    running: JoinSet<Done>,
    /// Who was up when that was last looked at.
    replicas: OrdMap<ReplicaId, Arc<Replica>>,
    looked: Instant,
}

/// What came of a piece of work that ran apart.
struct Done {
    id: CheckId,
    began: Instant,
    what: What,
}

enum What {
    Probed(Result<(), Failure>),
    Written,
}

// === impl Checks ===

impl Checks {
    /// The checks of the replica that `core` is.
    ///
    /// Errors: the file of trusted certificates cannot be read.
    pub fn new(
        core: Arc<Core>,
        registry: Registry,
        settings: &Settings,
        metrics: CheckMetrics,
    ) -> io::Result<Self> {
        let clock: Arc<dyn Clock> = core.clock.clone();
        Ok(Self {
            prober: Arc::new(Prober::new(settings, clock)?),
            concurrency: settings.concurrency,
            looked: core.clock.now(),
            core,
            registry,
            metrics,
            plan: Plan::default(),
            running: JoinSet::new(),
            replicas: OrdMap::new(),
        })
    }

    /// Runs until `stop`, or until the cache ends. The cache has to be ready. Checks that are being
    /// made at the end are given up.
    pub async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            followed = self.follow() => if let Err(error) = followed {
                tracing::error!(%error, "no instance is checked any more");
            }
        }
    }

    async fn follow(&mut self) -> Result<(), Error> {
        let kinds = [Kind::Instance as usize, Kind::Settings as usize];
        let mut follower = self.core.cache.follow(&kinds)?;
        self.begin(&self.core.cache.view()?.state);
        loop {
            let clock = self.core.clock.clone();
            let wake = self.looked + LOOK;
            let wake = match self.plan.next_due() {
                Some(due) if self.running.len() < self.concurrency => due.min(wake),
                _ => wake,
            };
            tokio::select! {
                followed = follower.next() => match followed {
                    Some(Followed::Changes { changes, view, .. }) => {
                        for change in changes {
                            self.take_in(&change.key, change.kind, &view.state);
                        }
                    }
                    Some(Followed::Behind(view)) => self.begin(&view.state),
                    None => return Ok(()),
                },
                Some(done) = self.running.join_next() => match done {
                    Ok(done) => self.finish(done),
                    Err(error) => tracing::error!(%error, "a check ended in a bug"),
                },
                () = clock.sleep_until(wake) => {}
            }
            self.look(&self.core.cache.view()?);
            self.start();
        }
    }

    /// Plans everything as `state` says. What is planned and stays so goes on.
    fn begin(&mut self, state: &State) {
        self.replicas = state.replicas.clone();
        self.plan.retain(|path| state.instances.contains_key(path));
        state.instances.values().for_each(|i| self.note(i, state));
    }

    fn take_in(&mut self, path: &Bytes, kind: usize, state: &State) {
        if kind == Kind::Instance as usize {
            match state.instances.get(path) {
                Some(instance) => self.note(instance, state),
                None => self.plan.drop_instance(path),
            }
        } else {
            let prefix = [path.as_ref(), b"/"].concat();
            let instances = State::under(&state.instances, &prefix, None);
            instances.for_each(|(_, instance)| self.note(instance, state));
        }
    }

    /// Plans the checks of an instance, if they fall to this replica.
    fn note(&mut self, instance: &Instance, state: &State) {
        let path = Bytes::from(instance.record.key.path());
        if state.checks_of(&instance.record).is_empty() {
            self.plan.drop_instance(&path);
            return;
        }
        // One replica makes all checks of an instance, so that what it finds has one writer.
        if rank(&self.core.replica, state.replicas.keys(), &path) > 0 {
            self.plan.drop_instance(&path);
            return;
        }
        let clock = &self.core.clock;
        let now = (clock.now(), clock.system_time());
        self.plan.plan(&path, &instance.record, state, now);
    }

    /// Looks now and then whether replicas came or went.
    fn look(&mut self, view: &View) {
        let now = self.core.clock.now();
        if now < self.looked + LOOK {
            return;
        }
        self.looked = now;
        if !self.replicas.keys().eq(view.state.replicas.keys()) {
            self.begin(&view.state);
        }
        self.metrics.planned.set(count(self.plan.len()));
    }

    /// Begins what is due, as much as may run at once.
    fn start(&mut self) {
        let now = self.core.clock.now();
        while self.running.len() < self.concurrency
            && let Some((due, id, subject)) = self.plan.pop(now)
        {
            if now > due + LATE {
                self.metrics.late.inc();
            }
            let prober = self.prober.clone();
            self.running.spawn(async move {
                let found = prober.probe(&subject.target, &subject.check).await;
                Done {
                    id,
                    began: now,
                    what: What::Probed(found),
                }
            });
        }
        self.metrics.running.set(count(self.running.len()));
    }

    fn finish(&mut self, Done { id, began, what }: Done) {
        let Some(planned) = self.plan.get_mut(id) else {
            return;
        };
        let subject = planned.subject.clone();
        if let What::Probed(found) = what {
            self.metrics.count(&subject.check.kind, found.is_ok());
            let verdict = planned.streak.observe(found.is_ok(), &subject.check);
            if let Some(passing) = verdict
                && self.is_news(&subject, passing)
            {
                // What is written with a verdict is why the outcome that made it was what it was.
                let detail = found.err().map_or_else(String::new, |f| f.to_string());
                self.write(id, began, &subject, passing, detail);
                return;
            }
        }
        let is_first = self.plan.was_first(id);
        let due = began + schedule::again(&subject.check, is_first);
        self.plan.again(id, due.max(self.core.clock.now()));
    }

    /// Says whether a verdict is another one than all replicas know, and could be written: while the
    /// store is away the outcomes after it try again.
    fn is_news(&self, subject: &Subject, passing: bool) -> bool {
        self.core.cache.view().is_ok_and(|view| {
            let path = subject.key.path();
            view.age <= self.core.settings.removal_hold
                && subject.verdict(path.as_bytes(), &view.state) != Some(passing)
        })
    }

    fn write(
        &mut self,
        id: CheckId,
        began: Instant,
        subject: &Subject,
        passing: bool,
        detail: String,
    ) {
        let note = Note {
            key: subject.key.clone(),
            registration: Some(subject.registration),
            session: None,
            observation: Observation {
                source: subject.source(),
                passing,
                detail,
                ttl: None,
            },
            guard: None,
        };
        let (registry, metrics) = (self.registry.clone(), self.metrics.clone());
        self.running.spawn(async move {
            match registry.note(&note).await {
                // It is gone, or another one: so is the verdict.
                Ok(_) | Err(Error::NotFound { .. }) => {}
                Err(error) => {
                    metrics.unwritten.inc();
                    tracing::warn!(%error, instance = note.key.path(), "the verdict of a check could not be written yet");
                }
            }
            Done {
                id,
                began,
                what: What::Written,
            }
        });
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
