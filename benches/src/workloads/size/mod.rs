//! Size: how a replica starts over many instances, what they cost, and what an empty one needs.

mod fill;
mod read;
mod replica;

use std::{path::Path, process::Command, time::Duration};

use tokio::time::sleep;

use self::{fill::fill, read::read_all, replica::Replica};
use crate::{
    BenchError,
    process::Scratch,
    sample::{Goal, Metric, Sample},
    target::{Programs, Site},
};

/// Instances of a service.
const PER_SERVICE: u64 = 100;

/// How often an empty server is started.
const STARTS: usize = 5;

/// For what a start allocates and gives back.
const SETTLE: Duration = Duration::from_secs(2);

const ETCD_READY: Metric = Metric::small("etcd_ready_ms", "etcd start ms");
const ETCD_EACH: Metric = Metric::small("etcd_kib_per_instance", "etcd KiB each");
const READ_EACH: Metric = Metric::small("read_kib_per_instance", "read KiB each");
const SERVICES_SHOWN: Metric = Metric::small("services_snapshot_ms", "services ms");
const INSTANCES_SHOWN: Metric = Metric::small("instances_snapshot_ms", "instances ms");
const PAGES: Metric = Metric::small("pages_ms", "all pages ms");
const LARGEST: Metric = Metric::small("largest_kib", "largest KiB");
const FILE_READY: Metric = Metric::small("file_ready_ms", "file start ms");
const FILE_EACH: Metric = Metric::small("file_kib_per_instance", "file KiB each");
const EMPTY_START: Metric = Metric::small("empty_start_ms", "empty ms");
const EMPTY_MEMORY: Metric = Metric::small("empty_mib", "empty MiB");
const BINARY: Metric = Metric::small("binary_mib", "binary MiB");
const STRIPPED: Metric = Metric::small("stripped_mib", "stripped MiB");

/// What a run of the workload is like.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// How many instances there are, in services of 100.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    instances: u32,
}

/// What is wanted of it. No answer may be larger than what clients take by default, 4 MiB.
pub(crate) const GOALS: &[Goal] = &[
    Goal::at_most(EMPTY_START, 100.0, 100.0),
    Goal::at_most(EMPTY_MEMORY, 20.0, 20.0),
    Goal::at_most(LARGEST, 1024.0, 4096.0),
];

/// Measures all of it once. The site is what fills etcd.
pub(crate) async fn measure(site: &Site, options: &Options) -> Result<Sample, BenchError> {
    let programs = site.programs();
    let services = u64::from(options.instances) / PER_SERVICE;
    let mut sample = Sample::default();
    over_etcd(site, services, &mut sample).await?;
    over_file(programs, services, &mut sample).await?;
    binary(&programs.stanchion, &mut sample)?;
    Ok(sample)
}

/// Starts a replica over an etcd that another one has filled.
async fn over_etcd(site: &Site, services: u64, sample: &mut Sample) -> Result<(), BenchError> {
    let instances = services * PER_SERVICE;
    let empty = site.server().rss()?;
    fill(site.port(), services).await?;
    let store = format!("etcd://127.0.0.1:{}/bench", site.etcd_port());
    let replica = Replica::start(site.programs(), &store).await?;
    sample.set(ETCD_READY, millis(replica.start));
    sleep(SETTLE).await;
    sample.set(
        ETCD_EACH,
        kib_each(replica.process.rss()?, empty, instances),
    );
    let reading = read_all(replica.port, services, instances).await?;
    sample.set(
        READ_EACH,
        kib_each(replica.process.rss()?, empty, instances),
    );
    sample.set(SERVICES_SHOWN, millis(reading.services));
    sample.set(INSTANCES_SHOWN, millis(reading.instances));
    sample.set(PAGES, millis(reading.pages));
    sample.set(LARGEST, reading.largest as f64 / 1024.0);
    Ok(())
}

/// Starts servers on the embedded store: empty, and with what one of them was filled with.
async fn over_file(
    programs: &Programs,
    services: u64,
    sample: &mut Sample,
) -> Result<(), BenchError> {
    let scratch = Scratch::create()?;
    let store = |name: &str| format!("file:{}", scratch.path().join(name).display());
    let mut starts = Vec::new();
    for number in 0..STARTS {
        let replica = Replica::start(programs, &store(&format!("empty-{number}"))).await?;
        starts.push(replica.start);
    }
    starts.sort();
    sample.set(EMPTY_START, millis(starts[STARTS / 2]));

    let filled = store("filled");
    let replica = Replica::start(programs, &filled).await?;
    sleep(SETTLE).await;
    let empty = replica.process.rss()?;
    sample.set(EMPTY_MEMORY, mib(empty));
    fill(replica.port, services).await?;
    drop(replica);

    let replica = Replica::start(programs, &filled).await?;
    sample.set(FILE_READY, millis(replica.start));
    sleep(SETTLE).await;
    let instances = services * PER_SERVICE;
    sample.set(
        FILE_EACH,
        kib_each(replica.process.rss()?, empty, instances),
    );
    Ok(())
}

/// How large the program is, as built and as it would be shipped.
fn binary(program: &Path, sample: &mut Sample) -> Result<(), BenchError> {
    let size = |path: &Path| {
        let metadata = std::fs::metadata(path);
        metadata.map_err(|source| BenchError::io(&format!("no {}", path.display()), source))
    };
    sample.set(BINARY, mib(size(program)?.len()));
    let scratch = Scratch::create()?;
    let stripped = scratch.path().join("stripped");
    let strip = Command::new("strip")
        .arg("-o")
        .args([&stripped, program])
        .status();
    match strip {
        Ok(status) if status.success() => sample.set(STRIPPED, mib(size(&stripped)?.len())),
        _ => sample.warn("there is no strip: the size of the program includes what debuggers use"),
    }
    Ok(())
}

fn service(number: u64) -> String {
    format!("size-{number:05}")
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}

fn kib_each(bytes: u64, empty: u64, instances: u64) -> f64 {
    bytes.saturating_sub(empty) as f64 / 1024.0 / instances as f64
}
