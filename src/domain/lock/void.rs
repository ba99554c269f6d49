//! Deletes claims that were made before data was lost: they count for nothing, but whoever asks the
//! store whether a queue is empty still finds them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use crate::{
    domain::{Core, error::Error},
    store::{Compare, Operation, Txn},
};

use super::{Locks, Waiter, delay};

/// How often it is looked for such claims: there are some only after a loss.
const LOOK: Duration = Duration::from_millis(500);
/// How many claims one transaction deletes.
const CHUNK: usize = 32;
/// What the replicas share this work by.
const SUBJECT: &[u8] = b"void claims";

/// The task that deletes void claims.
pub struct VoidClaims {
    core: Arc<Core>,
    /// Since when there are some.
    since: Option<Instant>,
}

// === impl Locks ===

impl Locks {
    /// Deletes the void claim of a request that queues anew: its key is the same.
    pub(super) async fn delete_void(&self, waiter: &Waiter) -> Result<(), Error> {
        self.core.commit(None, deletion(&self.core, waiter)).await?;
        Ok(())
    }
}

// === impl VoidClaims ===

impl VoidClaims {
    /// The task of the replica that `core` is.
    pub fn new(core: Arc<Core>) -> Self {
        Self { core, since: None }
    }

    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            if let Err(error) = self.step().await {
                tracing::warn!(%error, "void claims on locks could not be deleted yet");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.core.clock.sleep(LOOK) => {}
            }
        }
    }

    async fn step(&mut self) -> Result<(), Error> {
        let view = self.core.cache.view()?;
        let state = &view.state;
        if state.void.is_empty() {
            self.since = None;
            return Ok(());
        }
        let now = self.core.clock.now();
        let due = *self.since.get_or_insert(now) + self.core.turn(state, SUBJECT);
        if due > now {
            return Ok(());
        }
        tracing::info!(count = state.void.len(), "void claims on locks are deleted");
        let void: Vec<_> = state.void.values().collect();
        for chunk in void.chunks(CHUNK) {
            // In the epoch in which they are void: another copy may have been restored meanwhile.
            let mut txn = Txn::new().when(self.core.same_epoch(&view));
            for claim in chunk {
                txn = txn.then(Operation::Txn(deletion(&self.core, &claim.waiter)));
            }
            self.core.commit(None, txn).await?;
        }
        Ok(())
    }
}

fn deletion(core: &Core, waiter: &Waiter) -> Txn {
    let there = Compare::create_revision(waiter.key.clone(), waiter.create_revision);
    Txn::new()
        .when(there)
        .then_all(delay::removal(&core.keys, waiter))
}
