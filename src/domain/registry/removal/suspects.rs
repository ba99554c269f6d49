//! Removal of instances whose session has been gone for the grace.
//!
//! Every replica counts by its own clock, from when its cache showed the loss; the replica whose
//! rank is first for an instance removes it, the next ones only if that one does not. Counting
//! begins anew after an interruption ([`Interruptions`]), and a service of which most sessions ended
//! is braked (`brakes`): that many do not die at once, so what is broken is rather on our side.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::{
    cache::{Change, Followed, Turn},
    domain::{
        Core,
        error::Error,
        session_id::SessionId,
        state::{Item, Kind, State, StateProjection, View},
    },
    store::Compare,
};

use super::brakes::{Brakes, Released};

use crate::domain::registry::{
    Health, Instance, RemovalCause, Service,
    removal::departure::{CHUNK, Departure},
    removal::interruptions::{Interruptions, Look},
    removal::queue::Queue,
};

/// In this order at each revision, so that a brake finds the suspects that it is about.
const KINDS: [usize; 2] = [Kind::Instance as usize, Kind::Service as usize];
/// How soon a removal is tried again at the earliest, whatever the settings say.
const RETRY: Duration = Duration::from_millis(100);

/// The task that removes what has been suspect for too long.
pub struct Removal {
    core: Arc<Core>,
    queue: Queue<Bytes, Suspect>,
    brakes: Brakes,
    interruptions: Interruptions,
}

/// One instance whose session is gone.
#[derive(Debug, Clone, Copy)]
struct Suspect {
    /// The session that is gone.
    session: Option<SessionId>,
    /// When its grace is over.
    grace: Instant,
}

// === impl Removal ===

impl Removal {
    /// The task of the replica that `core` is.
    pub fn new(core: Arc<Core>) -> Self {
        Self {
            interruptions: Interruptions::new(&core),
            core,
            queue: Queue::default(),
            brakes: Brakes::default(),
        }
    }

    /// Runs until `stop`, or until the cache ends. The cache has to be ready.
    pub async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            followed = self.follow() => if let Err(error) = followed {
                tracing::error!(%error, "suspects cannot be followed: nothing will be removed");
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
                        self.take_in(change, &view.state);
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
        self.brakes.begin(state, self.core.clock.now());
        for instance in state.instances.values() {
            self.note(instance);
        }
    }

    fn take_in(&mut self, change: &Change<StateProjection>, state: &State) {
        let path = &change.key;
        match &change.after {
            Some(Item::Instance(instance)) => self.note(instance),
            None if change.kind == Kind::Instance as usize => self.queue.forget(path),
            Some(Item::Service(service)) => self.brake(path, Some(service), state),
            _ => self.brake(path, None, state),
        }
    }

    fn note(&mut self, instance: &Instance) {
        let path = instance.record.key.path().into();
        if instance.health != Health::Suspect {
            self.queue.forget(&path);
            return;
        }
        let grace = self.interruptions.grace(self.core.clock.now());
        let session = instance.record.session;
        // One that is known keeps its time, unless another session was lost.
        let known = self.queue.get(&path);
        if known.is_none_or(|known| known.session != session) {
            self.queue.note(path, Suspect { session, grace }, grace);
        }
    }

    fn brake(&mut self, path: &Bytes, service: Option<&Service>, state: &State) {
        let now = self.core.clock.now();
        let limit = self.core.settings.brake_limit;
        let released = self.brakes.note(path, service, state, (now, limit));
        let Some(released) = released else {
            return;
        };
        let anew = self.interruptions.grace(now);
        let prefix = [path.as_ref(), b"/"].concat();
        for (path, _) in State::under(&state.instances, &prefix, None) {
            if let Some(mut suspect) = self.queue.get(path) {
                if released == Released::Anew {
                    suspect.grace = anew;
                }
                self.queue.note(path.clone(), suspect, suspect.grace);
            }
        }
    }

    async fn look(&mut self) -> Result<(), Error> {
        let now = self.core.clock.now();
        match self.interruptions.look(&self.core, now) {
            Look::Away => return Ok(()),
            Look::Interrupted => {
                tracing::info!("the grace of suspect instances begins anew after an interruption");
                let grace = self.interruptions.grace(now);
                self.queue.revise(|suspect| {
                    suspect.grace = grace;
                    grace
                });
            }
            Look::Clear => {}
        }
        let view = self.core.cache.view()?;
        let departures = self.due(&view, now);
        match self.core.depart(&departures).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "suspect instances were removed"),
            Err(error) => tracing::warn!(%error, "suspect instances could not be removed yet"),
        }
        Ok(())
    }

    /// What is due and this replica's to remove; the rest is looked at later.
    fn due(&mut self, view: &View, now: Instant) -> Vec<Departure> {
        let state = &view.state;
        let rank_delay = self.core.settings.rank_delay;
        let mut departures = Vec::new();
        for (path, suspect) in self.queue.due(now, CHUNK) {
            let instance = state.instances.get(&path);
            let Some(instance) = instance
                .filter(|i| i.health == Health::Suspect && i.record.session == suspect.session)
            else {
                // The changes have yet to tell what became of it.
                self.queue.forget(&path);
                continue;
            };
            let held = self.held(instance, state, now);
            let due = suspect.grace.max(held) + self.core.turn(state, &path);
            if due > now {
                self.queue.postpone(&path, due);
                continue;
            }
            // Until the changes tell that it is gone.
            self.queue.postpone(&path, now + rank_delay.max(RETRY));
            departures.extend(self.departure(instance, state));
        }
        departures
    }

    /// Until when the removal of an instance is held by the brake of its service.
    fn held(&self, instance: &Instance, state: &State, now: Instant) -> Instant {
        let service = Bytes::from(instance.record.key.service_key().path());
        if !state.services.get(&service).is_some_and(|s| s.braked) {
            return now;
        }
        let limit = self.core.settings.brake_limit;
        // The changes may have yet to tell that it is braked.
        self.brakes.until(&service, limit).unwrap_or(now + limit)
    }

    fn departure(&self, instance: &Instance, state: &State) -> Option<Departure> {
        let record = &instance.record;
        let session = record.session.as_ref()?;
        Some(Departure {
            cause: RemovalCause::Expired,
            detail: "its session ended, and nobody registered it again".into(),
            when: vec![Compare::absent(self.core.keys.session(session))],
            with: self.core.findings_of(record, state).into_iter().collect(),
            record: record.clone(),
        })
    }
}
