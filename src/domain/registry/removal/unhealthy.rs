//! Removal of instances that have been unhealthy for too long, where their service asks for it.
//!
//! As with suspects every replica counts by its own clock, from when its cache showed that the
//! instance is unhealthy, and begins anew after an interruption: while nobody checked, it may have
//! recovered. A recovery, however short, ends the count.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::{
    cache::{Followed, Turn},
    domain::{
        Core,
        error::Error,
        state::{Kind, State, View},
    },
    store::Compare,
};

use crate::domain::registry::{
    Findings, Health, Instance, RemovalCause, ServiceSettings,
    removal::departure::{CHUNK, Departure},
    removal::interruptions::{Interruptions, Look},
    removal::queue::Queue,
};

/// Both say when an instance is due.
const KINDS: [usize; 2] = [Kind::Instance as usize, Kind::Settings as usize];
/// How soon a removal is tried again at the earliest, whatever the settings say.
const RETRY: Duration = Duration::from_millis(100);

/// The task that removes what has been unhealthy for too long.
pub struct UnhealthyRemoval {
    core: Arc<Core>,
    /// Each with the time since when it is unhealthy.
    queue: Queue<Bytes, Instant>,
    interruptions: Interruptions,
}

// === impl UnhealthyRemoval ===

impl UnhealthyRemoval {
    /// The task of the replica that `core` is.
    pub fn new(core: Arc<Core>) -> Self {
        Self {
            interruptions: Interruptions::new(&core),
            core,
            queue: Queue::default(),
        }
    }

    /// Runs until `stop`, or until the cache ends. The cache has to be ready.
    pub async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            followed = self.follow() => if let Err(error) = followed {
                tracing::error!(%error, "what is unhealthy cannot be followed: it stays");
            }
        }
    }

    async fn follow(&mut self) -> Result<(), Error> {
        let mut follower = self.core.cache.follow(&KINDS)?;
        self.begin(&self.core.cache.view()?.state);
        loop {
            let now = self.core.clock.now();
            let wake = self.interruptions.wake(now, self.queue.next_due());
            match follower.next_by(wake).await {
                Turn::Followed(Followed::Changes { changes, view, .. }) => {
                    for change in &changes {
                        self.take_in(change.kind, &change.key, &view.state);
                    }
                }
                Turn::Followed(Followed::Behind(view)) => self.begin(&view.state),
                Turn::Due => self.look().await?,
                Turn::Over => return Ok(()),
            }
        }
    }

    fn begin(&mut self, state: &State) {
        self.queue.clear();
        let instances = state.instances.iter();
        instances.for_each(|(path, instance)| self.note(path, instance, state));
    }

    fn take_in(&mut self, kind: usize, path: &Bytes, state: &State) {
        if kind == Kind::Instance as usize {
            match state.instances.get(path) {
                Some(instance) => self.note(path, instance, state),
                None => self.queue.forget(path),
            }
        } else {
            let prefix = [path.as_ref(), b"/"].concat();
            let instances = State::under(&state.instances, &prefix, None);
            instances.for_each(|(path, instance)| self.note(path, instance, state));
        }
    }

    fn note(&mut self, path: &Bytes, instance: &Instance, state: &State) {
        let after = remove_after(instance, state);
        let Some(after) = after.filter(|_| instance.health == Health::Unhealthy) else {
            self.queue.forget(path);
            return;
        };
        // One that is known keeps its time.
        let since = self.queue.get(path).unwrap_or(self.core.clock.now());
        self.queue.note(path.clone(), since, since + after);
    }

    async fn look(&mut self) -> Result<(), Error> {
        let now = self.core.clock.now();
        let view = self.core.cache.view()?;
        match self.interruptions.look(&self.core, now) {
            Look::Away => return Ok(()),
            Look::Interrupted => {
                tracing::info!("the time of unhealthy instances begins anew after an interruption");
                self.begin(&view.state);
            }
            Look::Clear => {}
        }
        let departures = self.due(&view, now);
        match self.core.depart(&departures).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "unhealthy instances were removed"),
            Err(error) => tracing::warn!(%error, "unhealthy instances could not be removed yet"),
        }
        Ok(())
    }

    /// What is due and this replica's to remove; the rest is looked at later.
    fn due(&mut self, view: &View, now: Instant) -> Vec<Departure> {
        let state = &view.state;
        let rank_delay = self.core.settings.rank_delay;
        let mut departures = Vec::new();
        for (path, since) in self.queue.due(now, CHUNK) {
            let instance = state.instances.get(&path);
            let instance = instance.filter(|i| i.health == Health::Unhealthy);
            let Some((instance, after)) = instance.and_then(|i| Some((i, remove_after(i, state)?)))
            else {
                // The changes have yet to tell what became of it.
                self.queue.forget(&path);
                continue;
            };
            let held = match is_braked(instance, state) {
                true => self.core.settings.brake_limit,
                false => Duration::ZERO,
            };
            let due = (since + after).max(self.interruptions.until());
            let due = due + held + self.core.turn(state, &path);
            if due > now {
                // The brake may come off any time.
                self.queue
                    .postpone(&path, due.min(now + rank_delay.max(RETRY)));
                continue;
            }
            // Until the changes tell that it is gone.
            self.queue.postpone(&path, now + rank_delay.max(RETRY));
            departures.extend(self.departure(instance, state));
        }
        departures
    }

    fn departure(&self, instance: &Instance, state: &State) -> Option<Departure> {
        let record = &instance.record;
        let path = record.key.path();
        let findings = state.health.get(path.as_bytes());
        let seen = findings.map_or(0, |findings| findings.mod_revision);
        Some(Departure {
            cause: RemovalCause::Unhealthy,
            detail: findings.map_or_else(String::new, |f| objection(f, instance, state)),
            // Nothing was found since then that speaks for it.
            when: vec![Compare::mod_revision(
                self.core.keys.health(&record.key),
                seen,
            )],
            with: self.core.findings_of(record, state).into_iter().collect(),
            record: record.clone(),
        })
    }
}

fn settings_of<'a>(instance: &Instance, state: &'a State) -> Option<&'a ServiceSettings> {
    let service = instance.record.key.service_key().path();
    state.settings.get(service.as_bytes()).map(Arc::as_ref)
}

fn remove_after(instance: &Instance, state: &State) -> Option<Duration> {
    settings_of(instance, state)?.remove_unhealthy_after
}

/// Says whether so many instances are unhealthy that it may be the checks.
fn is_braked(instance: &Instance, state: &State) -> bool {
    let service = instance.record.key.service_key().path();
    let service = state.services.get(service.as_bytes());
    service.is_some_and(|service| service.counts.are_doubtful(settings_of(instance, state)))
}

/// What the first source that objects says.
fn objection(findings: &Findings, instance: &Instance, state: &State) -> String {
    let checks = state.checks_of(&instance.record);
    let mut about = findings.about(&instance.record, checks);
    let objection = about.find(|finding| !finding.passing);
    objection.map_or_else(String::new, |finding| finding.detail.clone())
}
