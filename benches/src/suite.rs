//! Runs workloads: targets in turns, each with servers and data of its own.

use std::io::Write as _;

use clap::ArgMatches;

use crate::{
    BenchError,
    report::Report,
    sample::Sample,
    target::{Programs, Site, Target},
    workloads::{Measure, Workload},
};

/// A workload with its options.
pub(crate) struct Planned {
    workload: Workload,
    parameters: Vec<(String, String)>,
    measure: Measure,
}

// === impl Planned ===

impl Planned {
    /// Takes the options from the command line.
    pub(crate) fn new(workload: Workload, options: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self {
            parameters: workload.parameters(options),
            measure: workload.prepare(options)?,
            workload,
        })
    }

    /// Measures all targets in turns, so that what changes on the machine meets all of them.
    pub(crate) async fn run(&self, programs: &Programs, rounds: u32) -> Result<Report, BenchError> {
        let mut report = Report::new(&self.workload, self.parameters.clone(), rounds);
        for round in 1..=rounds {
            for target in self.workload.targets {
                progress(&format!(
                    "{}: round {round} of {rounds}, {}",
                    self.workload.name,
                    target.name()
                ));
                match self.sample(programs, *target).await {
                    Ok(sample) => report.add(round, *target, sample),
                    // A peer that breaks down under the load is a result too.
                    Err(error) if *target != Target::Stanchion => {
                        progress(&error.to_string());
                        report.add_failure(round, &error);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(report)
    }

    /// Measures a target that is started for it.
    async fn sample(&self, programs: &Programs, target: Target) -> Result<Sample, BenchError> {
        let site = Site::start(programs, target, self.workload.place).await?;
        (self.measure)(&site).await.map_err(|error| {
            let (workload, target) = (self.workload.name, target.name());
            BenchError::failed(format!("{workload} on {target}: {error}"))
        })
    }
}

/// Tells who waits what happens.
fn progress(text: &str) {
    // Nothing can be done about a closed stderr.
    let _ = writeln!(std::io::stderr(), "{text}");
}
