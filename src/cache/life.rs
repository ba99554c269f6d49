//! The tasks of a cache: they live as long as it does, or until it is shut down.

use std::sync::Arc;

use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;

use super::{
    Projection,
    probe::{Prober, ask_for_progress},
    shared::Shared,
    sync::Mirror,
};

/// The tasks. Dropping it ends them.
pub(super) struct Life<P: Projection> {
    shared: Arc<Shared<P>>,
    handles: [AbortHandle; 3],
    tasks: TaskTracker,
}

// === impl Life ===

impl<P: Projection> Life<P> {
    pub(super) fn start(shared: Arc<Shared<P>>, mirror: Mirror<P>, prober: Prober<P>) -> Self {
        let tasks = TaskTracker::new();
        Self {
            handles: [
                tasks.spawn(mirror.run()).abort_handle(),
                tasks.spawn(prober.run()).abort_handle(),
                tasks.spawn(ask_for_progress(shared.clone())).abort_handle(),
            ],
            tasks,
            shared,
        }
    }

    /// Has the tasks end.
    pub(super) fn end(&self) {
        self.shared.drain();
        self.shared.stopped.cancel();
        self.shared.rides.close();
        self.tasks.close();
        for task in &self.handles {
            task.abort();
        }
    }

    /// Waits until they have, once they are to.
    pub(super) async fn ended(&self) {
        self.tasks.wait().await;
    }
}

impl<P: Projection> Drop for Life<P> {
    fn drop(&mut self) {
        self.end();
    }
}
