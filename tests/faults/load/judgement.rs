//! What clients may have seen of a fault.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use super::{
    Load,
    calls::Caller,
    canary::Outage,
    history, locks, watchers,
    writes::{DEADLINE, Fate, Write, Writer},
};
use crate::harness::{Figures, Scenario, World};

/// How long everybody may take until everything is well again, once nothing is wrong any more.
const CONVERGENCE: Duration = Duration::from_secs(10);
/// How much later than its deadline a call may end.
const GRACE: Duration = Duration::from_millis(300);
/// How long an answer from the cache may take.
const CACHED: Duration = Duration::from_millis(500);

/// What a fault may do to clients, at most.
#[derive(Debug, Clone)]
pub struct Expectations {
    /// How soon writes work again once the members can commit.
    pub writes_back: Duration,
    /// How long there may be no write at all, at any replica; none: that is up to the fault.
    pub longest_gap: Option<Duration>,
    /// How soon after etcd tells of a change half of the watchers have heard of it.
    pub told_after: Duration,
    /// Whether every replica stays reachable, so that no read from a cache fails and no write
    /// without a reason.
    pub reads_go_on: bool,
    /// Whether no call fails of a client that may use any replica, and no watch of it has changes
    /// merged.
    pub calls_succeed: bool,
    /// Whether live clients keep their sessions, but for those that a member ended when it woke up;
    /// else they get new ones and everything back.
    pub sessions_live: bool,
    /// Whether the store keeps what was acknowledged; watches then miss and repeat nothing.
    pub history_goes_on: bool,
    /// Whether the store forgets what a replica has not seen yet.
    pub history_is_cut: bool,
    /// Reasons that a write may be refused for.
    pub refusals: &'static [&'static str],
}

// === impl Expectations ===

impl Default for Expectations {
    fn default() -> Self {
        Self {
            writes_back: Duration::from_secs(3),
            longest_gap: None,
            told_after: Duration::from_millis(100),
            reads_go_on: true,
            calls_succeed: false,
            sessions_live: true,
            history_goes_on: true,
            history_is_cut: false,
            refusals: &["STORE_UNAVAILABLE", "STORE_NO_QUORUM"],
        }
    }
}

impl Expectations {
    /// After the loss of data: sessions begin anew, and what was written may be gone.
    pub fn after_a_loss() -> Self {
        Self {
            sessions_live: false,
            history_goes_on: false,
            // A write that finds another history begins anew, and may run into its deadline.
            refusals: &["STORE_UNAVAILABLE", "STORE_NO_QUORUM", "Cancelled"],
            ..Self::default()
        }
    }
}

// === impl Load ===

impl Load {
    /// Waits until everything is well, ends the load and judges it.
    pub async fn judge(self, world: &mut World, plan: &Scenario) -> Figures {
        let expect = &plan.expect;
        let mut figures = std::mem::take(&mut *self.figures());
        self.writes_again(3 * CONVERGENCE).await;
        let ended = self.judge_sessions(world, expect).await;
        figures.add("sessions ended by a member that woke up", ended);
        self.judge_writes(&mut figures, expect);
        self.judge_reads(&mut figures, expect);
        let turns: Vec<_> = self.lockers.iter().map(|locker| locker.turns()).collect();
        let count = locks::judge(&turns, expect.history_goes_on);
        figures.add("turns under the lock", count);
        let kept = expect.sessions_live && ended == 0;
        self.judge_calls(&mut figures, expect, kept).await;
        let last = self.last_word(plan.watched.configs).await;
        let writes = self.writers.iter().flat_map(Writer::log).collect();
        let before = self.end();
        let history = watchers::judge(world, plan, last, &mut figures).await;
        history::judge(&history, writes, expect.history_goes_on, &mut figures);
        before.is_restored(world, &mut figures).await;
        figures
    }

    /// Judges the programs; returns how many sessions etcd ended although their clients were alive,
    /// which it may only as a leader that was paused, deposed and let go on.
    async fn judge_sessions(&self, world: &World, expect: &Expectations) -> usize {
        let mut ended = 0;
        for program in &self.programs {
            if expect.sessions_live && program.session.ended().is_some() {
                ended += 1;
                let begun = Instant::now();
                // It counts a lease once it has heard itself that it is gone.
                while world.leases_ended_by_the_paused() < ended {
                    if begun.elapsed() > CONVERGENCE {
                        program.lives();
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            } else if expect.sessions_live {
                program.lives();
            }
            program.is_registered(3 * CONVERGENCE).await;
        }
        ended
    }

    /// Judges those who may use any replica. `kept` says whether all sessions lived.
    async fn judge_calls(&self, figures: &mut Figures, expect: &Expectations, kept: bool) {
        let (mut made, mut slowest, mut failures) = (0, Duration::ZERO, Vec::new());
        let mut versions = HashMap::new();
        for (number, caller) in self.callers.iter().enumerate() {
            let calls = caller.stop().await;
            made += calls.made;
            slowest = slowest.max(calls.slowest);
            failures.extend(calls.failures.iter().map(|failure| format!("{failure:?}")));
            assert!(
                !expect.history_goes_on || calls.jumps.is_empty(),
                "written twice: {:?}",
                calls.jumps
            );
            for (index, version) in calls.versions.into_iter().enumerate() {
                versions.insert(Caller::key(number, index), version);
            }
        }
        for locker in &self.lockers {
            failures.extend(locker.turns().failures);
        }
        figures.add("calls", made);
        figures.add("slowest call", seconds(slowest));
        figures.add("calls failed", failures.len());
        assert!(slowest <= DEADLINE + GRACE, "a call took {slowest:?}");
        assert!(
            !expect.calls_succeed || failures.is_empty(),
            "calls failed: {failures:#?}"
        );
        let (mut changes, mut merged) = (0, 0);
        for follower in &self.followers {
            if expect.history_goes_on && failures.is_empty() {
                follower.catches_up(&versions, CONVERGENCE).await;
            }
            let seen = follower.seen();
            changes += seen.changes;
            merged += seen.merged;
            assert!(
                !expect.history_goes_on || seen.wrong.is_empty(),
                "a watch is wrong: {:#?}",
                seen.wrong
            );
            assert!(
                !kept || seen.absent.is_empty(),
                "a program was not to be seen: {:#?}",
                seen.absent
            );
        }
        figures.add("changes seen", changes);
        figures.add("times merged", merged);
        assert!(
            !expect.calls_succeed || merged == 0,
            "a watch saw merged changes, {merged} times"
        );
    }

    fn judge_writes(&self, figures: &mut Figures, expect: &Expectations) {
        let outages = self.canary.outages();
        let away: Duration = outages.iter().map(Outage::length).sum();
        figures.add("etcd could not commit for", seconds(away));
        let (mut gap, mut back, mut slowest) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        let mut refused = BTreeMap::new();
        for writer in &self.writers {
            let log = writer.log();
            let acknowledged: Vec<Instant> = log.iter().filter_map(Write::acknowledged).collect();
            for pair in acknowledged.windows(2) {
                gap = gap.max(pair[1] - pair[0]);
            }
            for outage in &outages {
                let Some(over) = outage.to else { continue };
                if let Some(first) = acknowledged.iter().find(|at| **at > over) {
                    back = back.max(*first - over);
                }
            }
            for attempt in log.iter().flat_map(|write| &write.tries) {
                slowest = slowest.max(attempt.took);
                if let Some((code, reason)) = &attempt.error {
                    let words = reason.clone().unwrap_or_else(|| format!("{code:?}"));
                    *refused.entry(words).or_insert(0) += 1;
                }
            }
        }
        // A writer at a replica that was away says nothing of the store.
        if expect.reads_go_on {
            figures.bound("writes worked again after", back, expect.writes_back);
        }
        match expect.longest_gap {
            Some(stated) => figures.bound("longest time without a write", gap, stated),
            None => figures.add("longest time without a write", seconds(gap)),
        }
        figures.add("slowest write", seconds(slowest));
        assert!(slowest <= DEADLINE + GRACE, "a write took {slowest:?}");
        let allowed = |reason: &str| {
            !expect.reads_go_on || reason == "COMMIT_UNKNOWN" || expect.refusals.contains(&reason)
        };
        assert!(
            refused.keys().all(|reason| allowed(reason)),
            "writes failed with {refused:?}"
        );
        let refused: usize = refused.into_values().sum();
        figures.add("writes refused or unknown", refused);
    }

    fn judge_reads(&self, figures: &mut Figures, expect: &Expectations) {
        let (mut cached, mut slowest, mut oldest) = (0, Duration::ZERO, Duration::ZERO);
        for reader in &self.readers {
            let reads = reader.reads();
            cached += reads.cached;
            slowest = slowest.max(reads.slowest_cached);
            oldest = oldest.max(reads.oldest);
            let mut failures = reads.cached_failures;
            // What was read may be lost, which an answer may say.
            failures.retain(|(_, why)| expect.history_goes_on || !why.contains("NOT_FOUND"));
            assert!(
                !expect.reads_go_on || failures.is_empty(),
                "reads from the cache of replica {} failed: {failures:?}",
                reader.replica
            );
            assert!(
                !expect.history_goes_on || reads.missed == 0,
                "{} reads did not find what is there",
                reads.missed
            );
            let took = reads.slowest_linearizable;
            assert!(
                took <= DEADLINE + GRACE,
                "a linearizable read took {took:?}"
            );
            if expect.history_goes_on {
                self.judge_linearizable(&reads.linearizable);
            }
        }
        if expect.reads_go_on {
            figures.bound("slowest of the cached reads", slowest, CACHED);
        }
        figures.add("cached reads", cached);
        figures.add("oldest answer", seconds(oldest));
    }

    /// Whatever was acknowledged anywhere before a linearizable read began, the read shows.
    fn judge_linearizable(&self, reads: &[(Instant, i64)]) {
        let mut written: Vec<(Instant, i64)> = Vec::new();
        for write in self.writers.iter().flat_map(|writer| writer.log()) {
            if let Fate::Acknowledged { revision, .. } = write.fate {
                written.push((write.ended, revision));
            }
        }
        written.sort_unstable();
        let mut newest = 0;
        for (_, revision) in &mut written {
            newest = newest.max(*revision);
            *revision = newest;
        }
        for (begun, shown) in reads {
            let before = written.partition_point(|(ended, _)| ended < begun);
            if let Some((_, known)) = before.checked_sub(1).map(|last| written[last]) {
                assert!(
                    *shown >= known,
                    "a linearizable read at {shown} misses {known}"
                );
            }
        }
    }
}

// === impl Write ===

impl Write {
    fn acknowledged(&self) -> Option<Instant> {
        matches!(self.fate, Fate::Acknowledged { .. }).then_some(self.ended)
    }
}

// === impl Outage ===

impl Outage {
    fn length(&self) -> Duration {
        self.to.unwrap_or_else(Instant::now) - self.from
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
