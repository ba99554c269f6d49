//! A store that is witnessed and watchers that are recorded, until they are judged.

use std::time::{Duration, Instant};

use crate::{
    checker::{Expect, Summary, Truth, Violation, check, delays},
    recorder::{Recorder, Watcher},
    witness::{History, Reach, Suspect, Witness},
};

/// Everything that is seen of a cluster.
pub struct Watched {
    pub witness: Witness,
    pub recorders: Vec<Recorder>,
    begun: Instant,
}

/// What is to be said of one watcher.
#[derive(Debug)]
pub struct Verdict {
    pub watcher: String,
    pub result: Result<Summary, Vec<Violation>>,
    /// How long it took it to hear of each revision, shortest first.
    pub delays: Vec<Duration>,
}

// === impl Watched ===

impl Watched {
    /// Watches what is kept below `root`, and nothing of it through the service yet.
    pub fn start(reach: Reach, root: &str) -> Self {
        Self {
            witness: Witness::start(reach, root),
            recorders: Vec::new(),
            begun: Instant::now(),
        }
    }

    /// Records one more watcher.
    pub fn add(&mut self, watcher: Watcher) {
        self.recorders.push(watcher.start());
    }

    /// Waits until all watchers are current through `revision`. Says which are not in time.
    pub async fn reach(&mut self, revision: i64, limit: Duration) -> Vec<String> {
        let deadline = Instant::now() + limit;
        let mut behind = Vec::new();
        for recorder in &mut self.recorders {
            let rest = deadline.saturating_duration_since(Instant::now());
            if !recorder.reaches(revision, rest).await {
                behind.push(recorder.watcher().name.clone());
            }
        }
        behind
    }

    /// Ends all watches, tells what happened and judges what was seen of it. The journal of a
    /// watcher that saw wrong is kept under the name of the run.
    pub async fn verdicts(
        self,
        run: &str,
        expect: Expect,
    ) -> Result<(History, Vec<Verdict>), Suspect> {
        let mut observations = Vec::new();
        for recorder in self.recorders {
            let watcher = recorder.watcher().clone();
            observations.push((watcher, recorder.stop().await));
        }
        // After them, so that it knows whatever they saw.
        let history = self.witness.finish().await?;
        let mut verdicts = Vec::new();
        for (watcher, observation) in observations {
            let truth = Truth::of(&history, &watcher.view).unwrap();
            let result = check(&truth, &observation, expect);
            if let Err(violations) = &result {
                let kept = observation.keep(run, &watcher.name, self.begun, violations);
                let kept = kept.unwrap();
                eprintln!("{run}: {} saw wrong, see {}", watcher.name, kept.display());
            }
            let mut delays = delays::of(&history, &truth, &observation);
            delays.sort_unstable();
            verdicts.push(Verdict {
                watcher: watcher.name,
                result,
                delays,
            });
        }
        Ok((history, verdicts))
    }
}

// === impl Verdict ===

impl Verdict {
    /// What the watcher went through; panics if it saw wrong.
    #[track_caller]
    pub fn passes(self) -> Summary {
        let Self {
            watcher,
            result,
            delays,
        } = self;
        match result {
            Ok(summary) => {
                let half = delays.get(delays.len() / 2);
                eprintln!("{watcher}: told after {half:?} (half), {summary:?}");
                summary
            }
            Err(violations) => panic!("{watcher}: {}", violations[0]),
        }
    }
}
