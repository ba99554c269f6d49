//! A lock that nobody else wants: taken and released, one after the other.

use super::{acquire, open_session, recipe::Recipe, release, sample};
use crate::{
    BenchError,
    http2::{Call, Connection, Windows},
    sample::{Goal, P50, P99, Sample},
    target::{Site, Target},
    workloads::{
        busy::Work,
        saturation::{Load, keep_working},
    },
};

/// How many locks take turns.
const LOCKS: u64 = 100;

/// What a run of the workload is like.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Seconds that are measured; less than 2 is too coarse for the kernel's clock.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(2..=600))]
    seconds: u32,
}

/// What is wanted of it: there is one more hop than in the recipe.
pub(crate) const GOALS: &[Goal] = &[Goal::against(Target::Etcd, P50, 1.0 / 1.25, 1.0 / 1.4)];

/// Takes and releases locks in a session that is open.
struct Holder {
    session: String,
    next: u64,
    /// What the next answer is to.
    asked: Asked,
}

/// What a holder waits for.
enum Asked {
    /// A lock.
    Acquire,
    /// Not yet: this is the call.
    ToRelease(Call),
    /// To be rid of it.
    Release,
}

/// Measures one target.
pub(crate) async fn measure(site: &Site, options: &Options) -> Result<Sample, BenchError> {
    if site.target() == Target::Etcd {
        return measure_recipe(site, options).await;
    }
    let mut connection = Connection::open(site.port(), Windows::Large).await?;
    let session = open_session(&mut connection).await?;
    let load = Load::one_at_a_time(options.seconds);
    let measured = keep_working(site, &load, |_| Holder {
        session: session.clone(),
        next: 0,
        asked: Asked::Acquire,
    })
    .await?;
    let mut told = measured.usage.map(sample).unwrap_or_default();
    for metric in [P50, P99] {
        if let Some(value) = measured.get(metric) {
            told.set(metric, value);
        }
    }
    Ok(told)
}

async fn measure_recipe(site: &Site, options: &Options) -> Result<Sample, BenchError> {
    let arguments = [
        format!("-seconds={}", options.seconds),
        "uncontended".to_owned(),
    ];
    let (usage, figures) = Recipe::start(site, &arguments)?.measure(site).await?;
    let [_, p50, p99] = figures[..] else {
        return Err(BenchError::failed("the recipe tells no latency"));
    };
    let mut told = sample(usage);
    told.set(P50, p50 as f64 / 1000.0);
    told.set(P99, p99 as f64 / 1000.0);
    Ok(told)
}

// === impl Holder ===

impl Holder {
    fn lock(number: u64) -> String {
        format!("lock-{}", number % LOCKS)
    }
}

impl Work for Holder {
    fn begin(&mut self, connection: &mut Connection) -> Option<(u64, u32)> {
        let number = self.next;
        self.next += 1;
        let call = acquire(&Self::lock(number), &self.session);
        self.asked = Asked::Acquire;
        Some((number, connection.start(&call)))
    }

    fn see(&mut self, number: u64, answer: &[u8]) -> Result<(), BenchError> {
        if matches!(self.asked, Asked::Acquire) {
            let call = release(&Self::lock(number), &self.session, answer)?;
            self.asked = Asked::ToRelease(call);
        }
        Ok(())
    }

    fn follow(&mut self, _number: u64, connection: &mut Connection) -> Option<u32> {
        match std::mem::replace(&mut self.asked, Asked::Release) {
            Asked::ToRelease(call) => Some(connection.start(&call)),
            Asked::Acquire | Asked::Release => None,
        }
    }
}
