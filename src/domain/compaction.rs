//! Forgetting old history of the store: one replica, chosen by rank, compacts it to
//! [`Settings::history`](super::Settings::history) ago.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use crate::{
    domain::{Core, Error, replica},
    store::Revision,
};

/// How many steps the time that is kept is cut into: the history kept is one step longer at most.
const STEPS: u32 = 12;
/// Below this a step is only work.
const MIN_STEP: Duration = Duration::from_millis(50);
/// The piece of work that replicas rank for.
const SUBJECT: &[u8] = b"compaction";

/// Remembers when the store was where, and compacts it.
pub struct Compaction {
    core: Arc<Core>,
    samples: Samples,
}

/// When the store was seen at which revision, oldest first.
#[derive(Default)]
struct Samples(VecDeque<(Instant, Revision)>);

// === impl Compaction ===

impl Compaction {
    /// The compaction of the store that `core` works with.
    pub fn new(core: Arc<Core>) -> Self {
        Self {
            core,
            samples: Samples::default(),
        }
    }

    /// Compacts from time to time, until told to stop. Every replica takes the samples, so that
    /// whoever comes to compact knows how far.
    pub async fn run(mut self, stop: CancellationToken) {
        let Some(history) = self.core.settings.history else {
            return;
        };
        let step = (history / STEPS).max(MIN_STEP);
        loop {
            if let Err(error) = self.step(history).await {
                tracing::warn!(%error, "the store's old history is kept for now");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.core.clock.sleep(step) => {}
            }
        }
    }

    async fn step(&mut self, history: Duration) -> Result<(), Error> {
        let now = self.core.clock.now();
        let view = self.core.cache.view()?;
        self.samples.push(now, view.revision);
        let Some(revision) = self.samples.take_older_than(now, history) else {
            return Ok(());
        };
        if replica::rank(&self.core.replica, view.state.replicas.keys(), SUBJECT) > 0 {
            return Ok(());
        }
        self.core.store.compact(revision).await?;
        tracing::debug!(revision, "the store's old history is gone");
        Ok(())
    }
}

// === impl Samples ===

impl Samples {
    fn push(&mut self, now: Instant, revision: Revision) {
        if self.0.back().is_some_and(|(_, last)| *last > revision) {
            // The store lost data: what it had then means nothing now.
            self.0.clear();
        }
        self.0.push_back((now, revision));
    }

    /// The newest revision that is at least `age` old; older ones are forgotten.
    fn take_older_than(&mut self, now: Instant, age: Duration) -> Option<Revision> {
        let mut found = None;
        while let Some((at, revision)) = self.0.front().copied()
            && now.saturating_duration_since(at) >= age
        {
            self.0.pop_front();
            found = Some(revision);
        }
        found.filter(|revision| *revision > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_is_forgotten_only_when_it_is_old_enough() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let hour = Duration::from_secs(3600);
        let mut samples = Samples::default();
        for (seconds, revision) in [(0, 5), (1800, 7), (3600, 9)] {
            samples.push(at(seconds), revision);
        }
        assert_eq!(samples.take_older_than(at(3599), hour), None);
        assert_eq!(samples.take_older_than(at(3600), hour), Some(5));
        assert_eq!(samples.take_older_than(at(3600), hour), None);
        assert_eq!(samples.take_older_than(at(9000), hour), Some(9));
    }

    #[test]
    fn samples_from_before_a_loss_of_data_do_not_count() {
        let start = Instant::now();
        let mut samples = Samples::default();
        samples.push(start, 500);
        samples.push(start + Duration::from_secs(1), 20);
        let later = start + Duration::from_secs(2);
        assert_eq!(samples.take_older_than(later, Duration::ZERO), Some(20));
    }
}
