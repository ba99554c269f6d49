//! Latches: open once enough parties have counted them down, and for good.

mod count;
mod create;
mod wait;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use imbl::OrdMap;
use tokio_util::sync::CancellationToken;

use crate::{
    cache::{Change, Freshness},
    domain::{
        Core, Revised,
        error::{Error, Resource},
        guard::Guard,
        keyspace::LatchPath,
        names::{Label, PartyName},
        revise::Step,
        state::{Item, Kind, StateProjection, View},
        turnstile::Turnstile,
    },
    store::{Compare, LeaseId, Operation, Revision, Txn},
};

pub use self::create::{CreateLatch, LatchCreated};

/// The largest count of a latch.
pub const MAX_COUNT: u32 = 1000;
/// How long ending a lease may keep a caller waiting: it would end by itself.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(2);

/// A latch, with those who counted it down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latch {
    /// Which one.
    pub path: LatchPath,
    /// What it was created with. `None` of one that cannot be read.
    pub made: Option<Arc<LatchMade>>,
    /// Who counted.
    pub arrivals: OrdMap<PartyName, Arc<Arrival>>,
}

/// What a latch was created with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatchMade {
    /// How many parties open it.
    pub count: u32,
    /// How long it lives.
    pub lifetime: Duration,
    /// The lease that it and all that is counted hang on.
    pub lease: LeaseId,
    /// Who created it, unverified.
    pub actor: Label,
    /// When.
    pub create_time: SystemTime,
    /// The request that did; empty: none.
    pub request_id: String,
    /// Names the call that did.
    pub call: u64,
    /// The revision that did.
    pub create_revision: Revision,
}

/// A party that counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// When it did.
    pub create_time: SystemTime,
    /// Names the call that did.
    pub call: u64,
    /// The revision that did.
    pub revision: Revision,
}

/// How a latch stands for those who wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LatchStands {
    /// The revision that created it.
    pub create_revision: Revision,
    /// Whether it is open.
    pub open: bool,
    /// The revision at which it came to stand so.
    pub revision: Revision,
}

/// The latches of all clients, and the calls that wait for one at this replica.
#[derive(Clone)]
pub struct Latches {
    core: Arc<Core>,
    /// Tells how a latch stood last: whoever waits for it may look too late.
    turnstile: Arc<Turnstile<LatchStands>>,
    draining: CancellationToken,
}

// === impl Latches ===

impl Latches {
    /// The latches in the store that `core` is about. Somebody has to [`run`](Self::run) them.
    pub fn new(core: Arc<Core>) -> Self {
        Self {
            core,
            turnstile: Arc::default(),
            draining: CancellationToken::new(),
        }
    }

    /// Calls waiting calls when their latch opens or goes, until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let kinds = [Kind::Latch as usize];
        self.turnstile
            .follow(&self.core, &kinds, hear, &shutdown)
            .await;
    }

    /// Ends every waiting call, and every one to come, with [`Error::Draining`].
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// Reads a latch. That it is not there is only believed after a linearizable probe.
    ///
    /// Errors: [`Error::NotFound`].
    pub async fn get(
        &self,
        path: &LatchPath,
        freshness: Freshness,
    ) -> Result<(Arc<Latch>, View), Error> {
        let mut view = self.core.cache.read(freshness).await?;
        if view.state.latch(path).is_none() && freshness != Freshness::Linearizable {
            view = self.core.cache.read(Freshness::Linearizable).await?;
        }
        let latch = view.state.latch(path).cloned();
        Ok((latch.ok_or_else(|| not_found(path))?, view))
    }

    /// Deletes a latch with all that was counted. One that is gone is no error. Nothing is put, so
    /// that it works when the store is full.
    ///
    /// Errors: [`Error::GuardFailed`].
    pub async fn delete(
        &self,
        path: &LatchPath,
        guard: Option<&Guard>,
    ) -> Result<Revised<()>, Error> {
        let decide = |view: &View| {
            let made = view.state.latch(path).and_then(|latch| latch.made.as_ref());
            let Some(made) = made else {
                return Ok(Step::Keep(None));
            };
            let key = self.core.keys.latch(path);
            let txn = Txn::new()
                .when(Compare::create_revision(key.clone(), made.create_revision))
                .then(Operation::delete(key))
                .then(Operation::Delete(self.core.keys.latch_arrivals(path)));
            Ok(Step::Send(txn, Some(made.lease)))
        };
        let name = path.path();
        let deleted = self.core.revise(&name, guard, decide).await?;
        if let Some(lease) = deleted.value {
            self.revoke(lease).await;
        }
        Ok(Revised {
            value: (),
            changed: deleted.changed,
            revision: deleted.revision,
        })
    }

    /// Ends a lease that nothing hangs on any more.
    async fn revoke(&self, lease: LeaseId) {
        tokio::select! {
            revoked = self.core.store.revoke(lease) => {
                if let Err(error) = revoked {
                    tracing::debug!(%error, "the lease of a latch is left to end by itself");
                }
            }
            () = self.core.clock.sleep(REVOKE_TIMEOUT) => {
                tracing::debug!("the store takes long to end the lease of a latch");
            }
        }
    }
}

/// Those who wait sit at the path. They are told of a latch that opened, and how one stood that
/// went.
fn hear(change: &Change<StateProjection>) -> Option<(Bytes, Option<LatchStands>)> {
    let told = match (&change.before, &change.after) {
        (_, Some(Item::Stands(now))) if now.open => Some(*now),
        (Some(Item::Stands(before)), _) => Some(*before),
        _ => None,
    };
    Some((change.key.clone(), told))
}

fn not_found(path: &LatchPath) -> Error {
    Error::NotFound {
        resource: Resource::Latch,
        name: path.path(),
    }
}

// === impl Latch ===

impl Latch {
    /// One of which there is nothing yet.
    pub fn new(path: LatchPath) -> Self {
        Self {
            path,
            made: None,
            arrivals: OrdMap::new(),
        }
    }

    /// Says whether there is nothing of it.
    pub fn is_empty(&self) -> bool {
        self.made.is_none() && self.arrivals.is_empty()
    }

    /// Says whether enough parties have counted it down.
    pub fn is_open(&self) -> bool {
        self.made.is_some() && self.remaining() == 0
    }

    /// How many are missing.
    pub fn remaining(&self) -> usize {
        let count = self.made.as_ref().map_or(0, |made| made.count as usize);
        count.saturating_sub(self.arrivals.len())
    }

    /// The revision that created it.
    pub fn create_revision(&self) -> Revision {
        self.made.as_ref().map_or(0, |made| made.create_revision)
    }

    /// The revision at which what can be seen of it last changed.
    pub fn visible_revision(&self) -> Revision {
        let arrivals = self.arrivals.values().map(|arrival| arrival.revision);
        arrivals.fold(self.create_revision(), Revision::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latch_is_open_once_so_many_parties_have_counted() {
        let mut latch = Latch::new(LatchPath::parse("a/ready").unwrap());
        assert!(latch.is_empty() && !latch.is_open());
        latch.made = Some(Arc::new(LatchMade {
            count: 2,
            lifetime: Duration::from_secs(60),
            lease: 1,
            actor: Label::default(),
            create_time: SystemTime::UNIX_EPOCH,
            request_id: String::new(),
            call: 0,
            create_revision: 3,
        }));
        for (party, remaining) in [("x", 1), ("x", 1), ("y", 0), ("z", 0)] {
            let arrival = Arrival {
                create_time: SystemTime::UNIX_EPOCH,
                call: 0,
                revision: 5,
            };
            let party = PartyName::parse(party).unwrap();
            latch.arrivals.insert(party, Arc::new(arrival));
            assert_eq!(latch.remaining(), remaining);
            assert_eq!(latch.is_open(), remaining == 0);
        }
        assert_eq!(latch.visible_revision(), 5);
        // What is left of one that cannot be read opens nothing.
        latch.made = None;
        assert!(!latch.is_open());
    }
}
