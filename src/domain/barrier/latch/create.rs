//! Creating a latch: a lease, and the record on it.

use std::{sync::Arc, time::Duration};

use crate::{
    domain::{
        Revised, barrier::Refusal, error::Error, guard::Guard, keyspace::LatchPath, names::Label,
        records, revise::Step, state::View,
    },
    store::{Compare, LeaseId, Operation, Txn},
};

use super::{Latch, LatchMade, Latches};

/// A latch that is to be there.
#[derive(Debug, Clone)]
pub struct CreateLatch {
    /// Which one.
    pub path: LatchPath,
    /// How many parties are to open it.
    pub count: u32,
    /// How long it lives; `None`: as long as those that do not say.
    pub lifetime: Option<Duration>,
    /// The name of the request; empty: none.
    pub request_id: String,
    /// Who asks, unverified.
    pub actor: Label,
    /// The lock that must be held.
    pub guard: Option<Guard>,
}

/// A latch that is there.
#[derive(Debug, Clone)]
pub struct LatchCreated {
    /// The latch.
    pub latch: Arc<Latch>,
    /// Whether this request created it.
    pub created: bool,
}

// === impl Latches ===

impl Latches {
    /// Creates a latch, or finds the one that is there with the same count.
    ///
    /// Errors: [`Refusal::LatchDiffers`], [`Refusal::TooManyLatches`], [`Error::Invalid`] for a
    /// lifetime out of range, [`Error::GuardFailed`].
    pub async fn create(&self, request: &CreateLatch) -> Result<Revised<LatchCreated>, Error> {
        let lifetime = self.lifetime(request.lifetime)?;
        // Named by the call, so that it knows its own latch when an answer was lost.
        let call = rand::random();
        let made = |lease| LatchMade {
            count: request.count,
            lifetime,
            lease,
            actor: request.actor.clone(),
            create_time: self.core.clock.system_time(),
            request_id: request.request_id.clone(),
            call,
            create_revision: 0,
        };
        let view = self.core.cache.view()?;
        if view.state.latch(&request.path).is_some() {
            match self.make(request, call, None).await {
                // It went in that moment.
                Err(Error::Conflict { .. }) => {}
                there => return there,
            }
        }
        self.check_room(request, &view)?;
        drop(view);
        let lease = rand::random_range(1..LeaseId::MAX);
        self.core.store.grant(lease, lifetime).await?;
        let there = self.make(request, call, Some(made(lease))).await;
        let used = match &there {
            Ok(there) => {
                let made = there.value.latch.made.as_ref();
                made.is_some_and(|made| made.lease == lease)
            }
            // It may have been written, or be written yet.
            Err(error) => matches!(error, Error::CommitUnknown(_)),
        };
        if !used {
            self.revoke(lease).await;
        }
        there
    }

    /// Has the latch there: `made`, if none is. Without one, that there is none is a conflict.
    async fn make(
        &self,
        request: &CreateLatch,
        call: u64,
        made: Option<LatchMade>,
    ) -> Result<Revised<LatchCreated>, Error> {
        let path = &request.path;
        let decide = |view: &View| {
            if let Some(latch) = view.state.latch(path)
                && let Some(found) = &latch.made
            {
                if found.count != request.count {
                    return Err(Error::Refused(Refusal::LatchDiffers {
                        name: path.path(),
                        count: found.count,
                    }));
                }
                let repeated =
                    !request.request_id.is_empty() && found.request_id == request.request_id;
                return Ok(Step::Keep(LatchCreated {
                    latch: latch.clone(),
                    created: repeated || found.call == call,
                }));
            }
            let Some(made) = &made else {
                return Err(Error::Conflict { name: path.path() });
            };
            let key = self.core.keys.latch(path);
            let value = records::encode_latch(made);
            let txn = Txn::new()
                .when(Compare::absent(key.clone()))
                .then(Operation::put_leased(key, value, made.lease));
            let latch = Latch {
                made: Some(Arc::new(made.clone())),
                ..Latch::new(path.clone())
            };
            Ok(Step::Send(
                txn,
                LatchCreated {
                    latch: Arc::new(latch),
                    created: true,
                },
            ))
        };
        let name = path.path();
        let mut there = self
            .core
            .revise(&name, request.guard.as_ref(), decide)
            .await?;
        if there.changed
            && let Some(made) = Arc::make_mut(&mut there.value.latch).made.as_mut()
        {
            Arc::make_mut(made).create_revision = there.revision;
        }
        Ok(there)
    }

    /// Looked at in this replica's copy of the state, so that calls at the same moment may exceed it
    /// by as many as they are.
    fn check_room(&self, request: &CreateLatch, view: &View) -> Result<(), Error> {
        let namespace = &request.path.namespace;
        let limit = self.core.settings.max_latches;
        let there = view.state.usage_of(namespace);
        if there.is_some_and(|there| there.latches >= limit) {
            return Err(Error::Refused(Refusal::TooManyLatches {
                namespace: namespace.to_string(),
                limit,
            }));
        }
        Ok(())
    }

    fn lifetime(&self, lifetime: Option<Duration>) -> Result<Duration, Error> {
        let settings = &self.core.settings;
        let lifetime = lifetime.unwrap_or(settings.default_latch_lifetime);
        let (min, max) = (settings.min_latch_lifetime, settings.max_latch_lifetime);
        if lifetime < min || lifetime > max {
            let words = humantime::format_duration;
            return Err(Error::invalid(
                "lifetime",
                format!("must be from {} to {}", words(min), words(max)),
            ));
        }
        Ok(lifetime)
    }
}
