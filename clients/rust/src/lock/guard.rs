//! A held lock, and how its loss is found out.

use std::time::Duration;

use crate::{
    error::Result,
    lock::LockLoss,
    proto::{Guard, YieldRequest},
    queue::Held,
};

/// A held lock. Released when dropped, in the background; best by [`release`](Self::release).
///
/// A lock is advice unless what it protects checks the [`fencing_token`](Self::fencing_token): a
/// program that is paused does not notice in time that it lost the lock. For changes at Stanchion
/// itself, [`guard`](Self::guard) is that check.
#[derive(Debug)]
pub struct LockGuard {
    held: Held,
}

// === impl LockGuard ===

impl LockGuard {
    pub(super) fn new(held: Held) -> Self {
        Self { held }
    }

    /// Name of the lock.
    pub fn name(&self) -> &str {
        self.held.place().queue.name()
    }

    /// The token to pass on to whatever the lock protects: positive, and larger than every token
    /// of the lock before it.
    pub fn fencing_token(&self) -> i64 {
        self.held.token()
    }

    /// Makes a change happen only while this lock is held: the `guard` of a request.
    pub fn guard(&self) -> Guard {
        self.held.guard()
    }

    /// Says whether the lock is surely held now.
    pub fn is_held(&self) -> bool {
        self.held.is_held()
    }

    /// For how long from now the lock is surely held, unless somebody removes the claim.
    pub fn held_for(&self) -> Duration {
        self.held.held_for()
    }

    /// Completes when the lock is no longer surely held. That is final: it stays lost even if the
    /// session is found to live on.
    pub async fn lost(&self) -> LockLoss {
        self.held.lost().await
    }

    /// Does `work` as long as the lock is surely held. When it is lost, `work` is dropped where it
    /// stands.
    pub async fn run<T>(&self, work: impl Future<Output = T>) -> Result<T, LockLoss> {
        self.held.run(work).await
    }

    /// Completes when somebody asks that the lock be given up, with who and why; at once if it was
    /// asked before. It stays held until it is released. Never completes once the lock is lost
    /// without having been asked for.
    pub async fn yield_requested(&self) -> YieldRequest {
        self.held.yield_requested().await
    }

    /// Releases the lock. Answers whether it was still held until now.
    pub async fn release(self) -> Result<bool> {
        self.held.release().await
    }
}
