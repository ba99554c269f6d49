//! Why to read the figures with care.

use super::{Report, Results, median};

/// CPU of a server, in seconds, below which the kernel's steps of 10 ms are more than 5 %.
const LEAST_CPU: f64 = 0.2;

// === impl Results ===

impl Results {
    /// Of all workloads.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.apart {
            warnings.push("one core only: servers and load disturb each other".to_owned());
        }
        if cfg!(debug_assertions) {
            warnings.push("the generator is a debug build".to_owned());
        }
        warnings
    }
}

// === impl Report ===

impl Report {
    /// Of this workload.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = self.failures.clone();
        for target in self.targets {
            let name = target.name();
            let mut said: Vec<&String> = Vec::new();
            for (_, sample) in self.samples_of(*target) {
                said.extend(&sample.warnings);
            }
            if let Some(first) = said.first() {
                let rounds = if said.len() > 1 {
                    format!(", and {} more like it", said.len() - 1)
                } else {
                    String::new()
                };
                warnings.push(format!("{name}: {first}{rounds}"));
            }
            let usages: Vec<_> = self
                .samples_of(*target)
                .filter_map(|(_, sample)| sample.usage)
                .collect();
            if usages.is_empty() {
                continue;
            }
            let median =
                |each: fn(&crate::meter::Usage) -> f64| median(usages.iter().map(each).collect());
            let own = median(|usage| usage.each(usage.generator));
            let server = median(|usage| usage.each(usage.server));
            if own > server {
                warnings.push(format!(
                    "the generator used more CPU than {name} ({own:.2} us against {server:.2} us for each \
                     operation): its latencies are those of the generator too"
                ));
            }
            let seconds = median(|usage| usage.server.as_secs_f64());
            if seconds < LEAST_CPU {
                warnings.push(format!(
                    "{name} used {seconds:.2} s of CPU, which the kernel counts in steps of 10 ms: measure longer"
                ));
            }
        }
        warnings
    }
}
