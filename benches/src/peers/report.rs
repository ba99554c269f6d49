//! Results: as a table for people, as JSON for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{
    COMPILED_WARM_UP, Options, Peer,
    measure::{Sample, WORKLOADS},
    zookeeper,
};
use crate::{
    BenchError,
    report::{hardware, median, range},
    target::Programs,
};

/// All samples of a run.
pub(crate) struct Report {
    options: Options,
    rounds: u32,
    programs: [String; 3],
    hardware: String,
    apart: bool,
    samples: Vec<(u32, Peer, Sample)>,
}

/// One column: its name in JSON, its head in the table, its value.
type Column = (&'static str, &'static str, fn(&Sample) -> f64);

const CPU_WITH_ETCD: Column = ("with_etcd_us", "+ etcd us", Sample::total_us);
const P99: Column = ("p99_ms", "p99 ms", |sample| sample.p99_ms);

const COLUMNS: [Column; 6] = [
    ("server_us", "CPU us", Sample::server_us),
    CPU_WITH_ETCD,
    ("p50_ms", "p50 ms", |sample| sample.p50_ms),
    P99,
    ("operations_per_second", "operations/s", Sample::per_second),
    ("generator_us", "generator us", Sample::generator_us),
];

/// What is compared: columns that are better when small.
const RATIOS: [usize; 4] = [0, 1, 2, 3];

/// What we want to stay below: its workload, what is looked at, and how much. For CPU, half or less of
/// what the best of the known registries uses, for each listener in the case of push.
const GOALS: [(&str, Column, f64); 6] = [
    ("get", CPU_WITH_ETCD, 11.0),
    ("discover", CPU_WITH_ETCD, 12.0),
    ("register", CPU_WITH_ETCD, 50.0),
    ("push", CPU_WITH_ETCD, 15.0),
    ("push", P99, 12.0),
    ("lock", CPU_WITH_ETCD, 130.0),
];

/// CPU of a server, in seconds, below which the kernel's steps of 10 ms are more than 5 %.
const LEAST_CPU: f64 = 0.2;

// === impl Report ===

impl Report {
    pub(super) fn new(
        programs: &Programs,
        options: &Options,
        rounds: u32,
    ) -> Result<Self, BenchError> {
        let (etcd, stanchion) = programs.versions()?;
        Ok(Self {
            options: options.clone(),
            rounds,
            programs: [zookeeper::version(), etcd, stanchion],
            hardware: hardware(),
            apart: programs.cores.apart(),
            samples: Vec::new(),
        })
    }

    pub(super) fn add(&mut self, round: u32, peer: Peer, samples: Vec<Sample>) {
        let rows = samples.into_iter().map(|sample| (round, peer, sample));
        self.samples.extend(rows);
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let options = &self.options;
        let mut text = format!(
            "peers: {} connections with one operation at a time, {} listeners on one connection each, \
             {} writes/s of {} B, {} s each; median of {} rounds\n{}\n{}; {}\n\n{:<22}",
            options.connections,
            options.listeners,
            options.rate,
            options.content_bytes,
            options.seconds,
            self.rounds,
            self.warm_up(),
            self.programs.join("; "),
            self.hardware,
            "",
        );
        for (_, head, _) in COLUMNS {
            let _ = write!(text, "{head:>14}");
        }
        for workload in self.measured() {
            for peer in Peer::ALL {
                let _ = write!(text, "\n{workload:<10}{:<12}", peer.name());
                for (_, _, value) in COLUMNS {
                    let _ = write!(text, "{:>14.2}", self.median(workload, peer, value));
                }
            }
        }
        text.push_str("\n\nzookeeper over stanchion, in the same round: median (lowest to highest), above 1 stanchion is better\n");
        for (workload, (_, head, value)) in self.compared() {
            let ratios = self.ratios(workload, value);
            let (low, high) = range(&ratios);
            let _ = writeln!(
                text,
                "{workload:<10}{head:>14}{:>10.2} ({low:.2} to {high:.2})",
                median(ratios)
            );
        }
        text.push_str("\ngoals for stanchion, not to be exceeded; per listener for push\n");
        for (workload, (_, head, value), goal) in self.goals() {
            let figure = self.median(workload, Peer::Stanchion, value);
            let verdict = if figure <= goal { "reached" } else { "MISSED" };
            let _ = writeln!(
                text,
                "{workload:<10}{head:>14}{figure:>10.2} of {goal:.0}: {verdict}"
            );
        }
        for warning in self.warnings() {
            let _ = writeln!(text, "warning: {warning}");
        }
        text
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let row = |value: &dyn Fn(fn(&Sample) -> f64) -> f64| -> serde_json::Map<_, _> {
            COLUMNS
                .iter()
                .map(|(key, _, column)| ((*key).to_owned(), json!(value(*column))))
                .collect()
        };
        let samples: Vec<_> = self
            .samples
            .iter()
            .map(|(round, peer, sample)| {
                json!({
                    "round": round,
                    "target": peer.name(),
                    "workload": sample.workload,
                    "values": row(&|column| column(sample)),
                })
            })
            .collect();
        let medians: Vec<_> = self
            .measured()
            .flat_map(|workload| Peer::ALL.map(|peer| (workload, peer)))
            .map(|(workload, peer)| {
                json!({
                    "target": peer.name(),
                    "workload": workload,
                    "values": row(&|column| self.median(workload, peer, column)),
                })
            })
            .collect();
        let ratios: Vec<_> = self
            .compared()
            .map(|(workload, (key, _, value))| {
                let rounds = self.ratios(workload, value);
                json!({"workload": workload, "of": key, "rounds": rounds, "median": median(rounds.clone())})
            })
            .collect();
        let goals: Vec<_> = self
            .goals()
            .map(|(workload, (key, _, value), goal)| {
                let figure = self.median(workload, Peer::Stanchion, value);
                json!({
                    "workload": workload,
                    "metric": key,
                    "goal": goal,
                    "figure": figure,
                    "reached": figure <= goal,
                })
            })
            .collect();
        json!({
            "workload": "peers",
            "parameters": {
                "connections": self.options.connections,
                "listeners": self.options.listeners,
                "writes_per_second": self.options.rate,
                "content_bytes": self.options.content_bytes,
                "seconds": self.options.seconds,
                "rounds": self.rounds,
                "warm_up": self.warm_up(),
            },
            "programs": self.programs,
            "hardware": self.hardware,
            "cores_apart": self.apart,
            "samples": samples,
            "medians": medians,
            "ratios": ratios,
            "goals": goals,
            "warnings": self.warnings(),
        })
    }

    fn warm_up(&self) -> String {
        format!(
            "warm-up under load after each start: ZooKeeper {} s (it is compiled while it runs), \
             Stanchion {} s; as long for each workload",
            self.options.warm_up,
            u64::from(self.options.workloads()) * COMPILED_WARM_UP.as_secs()
        )
    }

    fn values(&self, workload: &str, peer: Peer, value: fn(&Sample) -> f64) -> Vec<f64> {
        self.samples
            .iter()
            .filter(|(_, of, sample)| *of == peer && sample.workload == workload)
            .map(|(_, _, sample)| value(sample))
            .collect()
    }

    fn median(&self, workload: &str, peer: Peer, value: fn(&Sample) -> f64) -> f64 {
        median(self.values(workload, peer, value))
    }

    fn compared(&self) -> impl Iterator<Item = (&'static str, Column)> {
        let each = |workload| RATIOS.map(|index| (workload, COLUMNS[index]));
        self.measured().flat_map(each)
    }

    /// The workloads that were wanted.
    fn measured(&self) -> impl Iterator<Item = &'static str> {
        let wanted = |workload: &&str| self.options.wants(workload);
        WORKLOADS.into_iter().filter(wanted)
    }

    fn goals(&self) -> impl Iterator<Item = (&'static str, Column, f64)> {
        let wanted = |goal: &(&str, Column, f64)| self.options.wants(goal.0);
        GOALS.into_iter().filter(wanted)
    }

    /// ZooKeeper over Stanchion, round by round.
    fn ratios(&self, workload: &str, value: fn(&Sample) -> f64) -> Vec<f64> {
        let theirs = self.values(workload, Peer::ZooKeeper, value);
        let ours = self.values(workload, Peer::Stanchion, value);
        theirs
            .iter()
            .zip(&ours)
            .filter(|(_, ours)| **ours > 0.0)
            .map(|(theirs, ours)| theirs / ours)
            .collect()
    }

    /// Why to read the figures with care.
    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.apart {
            warnings.push("one core only: servers and load disturb each other".to_owned());
        }
        if cfg!(debug_assertions) {
            warnings.push("the generator is a debug build".to_owned());
        }
        for (workload, peer) in self
            .measured()
            .flat_map(|workload| Peer::ALL.map(|peer| (workload, peer)))
        {
            let name = peer.name();
            let of = |value| self.median(workload, peer, value);
            let (own, total) = (of(Sample::generator_us), of(Sample::total_us));
            if own > total {
                warnings.push(format!(
                    "{workload}: the generator used more CPU than {name} ({own:.2} us against {total:.2} us \
                     per operation): its latencies are those of the generator too"
                ));
            }
            let seconds = of(|sample| sample.server.as_secs_f64());
            if seconds < LEAST_CPU {
                warnings.push(format!(
                    "{workload}: {name} used {seconds:.2} s of CPU, which the kernel counts in steps of 10 ms: \
                     measure longer"
                ));
            }
            let held = of(Sample::done_percent);
            if held < 100.0 {
                warnings.push(format!(
                    "{workload}: listeners of {name} held {held:.1} % of what was written"
                ));
            }
        }
        warnings
    }
}
