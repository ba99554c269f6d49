//! Whether this process itself was held up: its figures then say nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// A longer hold-up makes a run that failed worthless.
pub const TOLERATED: Duration = Duration::from_millis(200);

/// How often it is looked.
const TICK: Duration = Duration::from_millis(10);

/// Watches a thread that has nothing to do but to be on time.
pub struct StallWatch {
    longest: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

// === impl StallWatch ===

impl StallWatch {
    pub fn start() -> Self {
        let (longest, stop) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (noted, stopped) = (longest.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let mut last = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                std::thread::sleep(TICK);
                let late = last.elapsed().saturating_sub(TICK);
                let late = u64::try_from(late.as_millis()).unwrap_or(u64::MAX);
                noted.fetch_max(late, Ordering::Relaxed);
                last = Instant::now();
            }
        });
        Self {
            longest,
            stop,
            thread: Some(thread),
        }
    }

    /// The longest hold-up so far.
    pub fn longest(&self) -> Duration {
        Duration::from_millis(self.longest.load(Ordering::Relaxed))
    }
}

impl Drop for StallWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It cannot panic.
            let _ = thread.join();
        }
    }
}
