//! Results: as a table for people, as JSON for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::{
    BenchError,
    fanout::Options,
    target::{Programs, Target},
};

/// One target in one round.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) target: Target,
    /// Deliveries that arrived; less than `expected` if changes were merged or lost.
    pub(crate) delivered: u64,
    pub(crate) expected: u64,
    pub(crate) deliveries_per_second: f64,
    /// CPU of the server in all.
    pub(crate) server_seconds: f64,
    /// CPU of the server for each delivery, writes included.
    pub(crate) server_us: f64,
    /// The same of the etcd behind it.
    pub(crate) etcd_us: f64,
    /// The same of this program.
    pub(crate) generator_us: f64,
    /// Messages for each delivery: below 1 if they were batched.
    pub(crate) messages: f64,
    /// Bytes of messages for each delivery.
    pub(crate) bytes: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Resident memory that each idle watcher added, connections included.
    pub(crate) kib_per_watcher: f64,
    pub(crate) etcd_watchers: u64,
}

/// All samples of a run.
pub(crate) struct Report {
    options: Options,
    etcd: String,
    stanchion: String,
    hardware: String,
    apart: bool,
    samples: Vec<(u32, Sample)>,
}

/// One column: its name in JSON, its head in the table, its value.
type Column = (&'static str, &'static str, fn(&Sample) -> f64);

const COLUMNS: [Column; 11] = [
    ("server_us_per_delivery", "CPU us", |sample| {
        sample.server_us
    }),
    ("with_etcd_us_per_delivery", "+ etcd", Sample::with_etcd_us),
    ("p50_ms", "p50 ms", |sample| sample.p50_ms),
    ("p99_ms", "p99 ms", |sample| sample.p99_ms),
    ("kib_per_idle_watcher", "KiB/idle", |sample| {
        sample.kib_per_watcher
    }),
    ("etcd_watchers", "etcd watchers", |sample| {
        sample.etcd_watchers as f64
    }),
    ("deliveries_per_second", "deliveries/s", |sample| {
        sample.deliveries_per_second
    }),
    (
        "delivered_percent",
        "delivered %",
        Sample::delivered_percent,
    ),
    ("messages_per_delivery", "messages", |sample| {
        sample.messages
    }),
    ("bytes_per_delivery", "bytes", |sample| sample.bytes),
    ("generator_us_per_delivery", "generator us", |sample| {
        sample.generator_us
    }),
];

/// CPU of a server, in seconds, below which the kernel's steps of 10 ms are more than 5 %.
const LEAST_CPU: f64 = 0.2;

/// What is compared between targets, as columns that are better when small.
const RATIOS: [usize; 5] = [0, 1, 2, 3, 4];

// === impl Sample ===

impl Sample {
    /// CPU of the server and, if that is another process, of etcd.
    fn with_etcd_us(&self) -> f64 {
        match self.target {
            Target::Etcd => self.server_us,
            Target::GrpcProxy | Target::Stanchion => self.server_us + self.etcd_us,
        }
    }

    fn delivered_percent(&self) -> f64 {
        self.delivered as f64 * 100.0 / self.expected as f64
    }
}

// === impl Report ===

impl Report {
    pub(crate) fn new(programs: &Programs, options: &Options) -> Result<Self, BenchError> {
        let (etcd, stanchion) = programs.versions()?;
        Ok(Self {
            options: options.clone(),
            etcd,
            stanchion,
            hardware: hardware(),
            apart: programs.cores.apart(),
            samples: Vec::new(),
        })
    }

    pub(crate) fn add(&mut self, round: u32, sample: Sample) {
        self.samples.push((round, sample));
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let Options {
            streams,
            connections,
            rate,
            value_bytes,
            seconds,
            rounds,
        } = &self.options;
        let mut text = format!(
            "fanout: {streams} streams on {connections} connections, {rate} writes/s of {value_bytes} B, \
             {seconds} s; median of {rounds} rounds\n{}; {}; {}\n\n{:<12}",
            self.etcd, self.stanchion, self.hardware, ""
        );
        for (_, head, _) in COLUMNS {
            let _ = write!(text, "{head:>14}");
        }
        for target in Target::ALL {
            let _ = write!(text, "\n{:<12}", target.name());
            for (_, _, value) in COLUMNS {
                let _ = write!(text, "{:>14.2}", median(self.values(target, value)));
            }
        }
        text.push_str("\n\nstanchion against, in the same round: median (lowest to highest), above 1 it is better\n");
        for (peer, name, ratios) in self.ratios() {
            let (low, high) = range(&ratios);
            let _ = writeln!(
                text,
                "{:<12}{name:>14}{:>10.2} ({low:.2} to {high:.2})",
                peer.name(),
                median(ratios)
            );
        }
        for warning in self.warnings() {
            let _ = writeln!(text, "warning: {warning}");
        }
        text
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let samples: Vec<_> = self
            .samples
            .iter()
            .map(|(round, sample)| {
                let mut row = serde_json::Map::new();
                row.insert("round".to_owned(), json!(round));
                row.insert("target".to_owned(), json!(sample.target.name()));
                for (key, _, value) in COLUMNS {
                    row.insert(key.to_owned(), json!(value(sample)));
                }
                Value::Object(row)
            })
            .collect();
        let mut medians = serde_json::Map::new();
        for target in Target::ALL {
            let row = COLUMNS
                .map(|(key, _, value)| (key.to_owned(), json!(median(self.values(target, value)))));
            medians.insert(
                target.name().to_owned(),
                Value::Object(row.into_iter().collect()),
            );
        }
        let ratios: Vec<_> = self
            .ratios()
            .map(|(peer, name, ratios)| {
                json!({"against": peer.name(), "of": name, "rounds": ratios, "median": median(ratios.clone())})
            })
            .collect();
        json!({
            "workload": "fanout",
            "parameters": {
                "streams": self.options.streams,
                "connections": self.options.connections,
                "writes_per_second": self.options.rate,
                "value_bytes": self.options.value_bytes,
                "seconds": self.options.seconds,
                "rounds": self.options.rounds,
            },
            "etcd": self.etcd,
            "stanchion": self.stanchion,
            "hardware": self.hardware,
            "cores_apart": self.apart,
            "samples": samples,
            "medians": medians,
            "ratios": ratios,
            "warnings": self.warnings(),
        })
    }

    fn values(&self, target: Target, value: fn(&Sample) -> f64) -> Vec<f64> {
        let of_target = self
            .samples
            .iter()
            .filter(|(_, sample)| sample.target == target);
        of_target.map(|(_, sample)| value(sample)).collect()
    }

    /// Peer over Stanchion, round by round.
    fn ratios(&self) -> impl Iterator<Item = (Target, &'static str, Vec<f64>)> {
        let peers = [Target::GrpcProxy, Target::Etcd];
        peers.into_iter().flat_map(move |peer| {
            RATIOS.into_iter().map(move |index| {
                let (_, head, value) = COLUMNS[index];
                let ours = self.values(Target::Stanchion, value);
                let theirs = self.values(peer, value);
                // A tick is the least that can be told: no CPU at all is no ratio.
                let rounds = theirs.iter().zip(&ours).filter(|(_, ours)| **ours > 0.0);
                (
                    peer,
                    head,
                    rounds.map(|(theirs, ours)| theirs / ours).collect(),
                )
            })
        })
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
        for target in Target::ALL {
            let own = median(self.values(target, |sample| sample.generator_us));
            let server = median(self.values(target, |sample| sample.server_us));
            let name = target.name();
            if own > server {
                warnings.push(format!(
                    "the generator used more CPU than {name} ({own:.2} us against {server:.2} us per delivery): \
                     its latencies are those of the generator too"
                ));
            }
            let seconds = median(self.values(target, |sample| sample.server_seconds));
            if seconds < LEAST_CPU {
                warnings.push(format!(
                    "{name} used {seconds:.2} s of CPU, which the kernel counts in steps of 10 ms: measure longer"
                ));
            }
            let delivered = median(self.values(target, Sample::delivered_percent));
            if delivered < 100.0 {
                warnings.push(format!("{name} delivered {delivered:.1} % of the writes"));
            }
        }
        warnings
    }
}

/// The middle one, or the mean of the two in the middle; 0 of nothing.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        length if length % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

fn range(values: &[f64]) -> (f64, f64) {
    let low = values.iter().copied().reduce(f64::min);
    let high = values.iter().copied().reduce(f64::max);
    (low.unwrap_or(0.0), high.unwrap_or(0.0))
}

fn hardware() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let all = text
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count()
        .max(cores);
    let model = text
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split(':').nth(1))
        .unwrap_or("unknown CPU");
    format!("{all} cores, {}", model.trim())
}
