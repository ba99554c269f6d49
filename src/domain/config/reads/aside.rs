//! Work that takes a while, apart from the threads that serve connections.

use std::sync::Arc;

use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::domain::Error;

/// How many such works are done at once; others wait, with the deadlines of their calls.
const AT_ONCE: usize = 2;

/// Where they are done. Clones share it.
#[derive(Clone)]
pub(in crate::domain::config) struct Aside(Arc<Semaphore>);

// === impl Aside ===

impl Aside {
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let turn = self.0.clone().acquire_owned().await;
        let turn = turn.map_err(|error| Error::Internal(error.to_string()))?;
        let done = spawn_blocking(move || {
            // It takes its place until it is done, whether anybody waits for it or not.
            let _turn = turn;
            work()
        });
        done.await
            .map_err(|error| Error::Internal(error.to_string()))
    }
}

impl Default for Aside {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}
