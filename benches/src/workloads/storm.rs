//! Registration storm: many clients that all register at once, each with a lease of its own, as
//! after a network came back.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use futures_util::future::try_join_all;
use stanchion_client::proto::{RegisterInstanceRequest, register_instance_request::Liveness};

use super::{
    busy::{Tally, Work, keep_busy},
    instances::{instance, put, unary},
};
use crate::{
    BenchError,
    counters::FSYNCS,
    etcd::{LeaseGrantRequest, path},
    http2::{Connection, Windows},
    meter::Meter,
    sample::{CPU_WITH_ETCD, Goal, Metric, P50, P99, RATE, Sample},
    target::{Site, Target},
    wire::Dialect,
};

const REGISTER: &str = "/stanchion.v1.RegistryService/RegisterInstance";

/// Over how many services the instances are spread.
const SERVICES: u64 = 100;

/// Registrations before those that are measured.
const WARM_UP: u64 = 500;

/// Longer than a run, as nobody sends heartbeats here.
const TTL_SECONDS: i64 = 60;

/// How often etcd wrote its log to the disk, for each registration.
const FSYNCS_EACH: Metric = Metric::small("fsyncs_each", "fsyncs each");

/// What a run of the workload is like.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// How many clients register.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1000..=1_000_000))]
    registrations: u32,
    /// Over how many connections.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: u32,
    /// Registrations under way on each connection.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=900))]
    in_flight: u32,
}

/// What is wanted of it.
pub(crate) const GOALS: &[Goal] = &[
    Goal::against(Target::Etcd, CPU_WITH_ETCD, 1.4, 1.1),
    Goal::against(Target::Etcd, RATE, 1.4, 1.1),
];

/// Registers clients until there are enough.
struct Clients {
    dialect: Dialect,
    /// The next client, for all connections.
    next: Arc<AtomicU64>,
    end: u64,
    /// Who has a lease of etcd already.
    leased: HashSet<u64>,
}

/// Registers all clients on one target.
pub(crate) async fn measure(site: &Site, options: &Options) -> Result<Sample, BenchError> {
    let open = || Connection::open(site.port(), Windows::Large);
    let mut connections = try_join_all((0..options.connections).map(|_| open())).await?;
    let tally = Tally::new();
    let next = Arc::new(AtomicU64::new(0));
    let dialect = site.dialect();
    let in_flight = options.in_flight as usize;
    let mut register_up_to = async |end: u64| {
        let all = connections.iter_mut().map(|connection| {
            let (next, tally) = (Arc::clone(&next), &tally);
            async move {
                let mut clients = Clients {
                    dialect,
                    next,
                    end,
                    leased: HashSet::new(),
                };
                keep_busy(connection, in_flight, &mut clients, tally).await
            }
        });
        // Those that found nothing left have counted on.
        try_join_all(all).await.map(|_| next.store(end, Relaxed))
    };

    register_up_to(WARM_UP).await?;
    tally.clear();
    let meter = Meter::start(site).await?;
    register_up_to(WARM_UP + u64::from(options.registrations)).await?;
    let usage = meter.stop(|| tally.done.load(Relaxed)).await?;

    let mut sample = Sample::of(usage);
    sample.set(P50, tally.latency.quantile_ms(0.5));
    sample.set(P99, tally.latency.quantile_ms(0.99));
    let fsyncs = usage.counters.get(FSYNCS);
    sample.set(FSYNCS_EACH, fsyncs / usage.operations as f64);
    Ok(sample)
}

// === impl Clients ===

impl Work for Clients {
    fn begin(&mut self, connection: &mut Connection) -> Option<(u64, u32)> {
        let number = self.next.fetch_add(1, Relaxed);
        if number >= self.end {
            return None;
        }
        let call = match self.dialect {
            Dialect::Etcd => {
                let grant = LeaseGrantRequest {
                    ttl: TTL_SECONDS,
                    id: lease(number),
                };
                unary(path::LEASE_GRANT, &grant)
            }
            Dialect::Stanchion => {
                let register = RegisterInstanceRequest {
                    instance: Some(instance(&service(number), number)),
                    liveness: Some(Liveness::Ttl(prost_types::Duration {
                        seconds: TTL_SECONDS,
                        nanos: 0,
                    })),
                    client_id: format!("client-{number}"),
                    ..RegisterInstanceRequest::default()
                };
                unary(REGISTER, &register)
            }
        };
        Some((number, connection.start(&call)))
    }

    fn follow(&mut self, number: u64, connection: &mut Connection) -> Option<u32> {
        let more = self.dialect == Dialect::Etcd && self.leased.insert(number);
        more.then(|| connection.start(&put(&service(number), number, lease(number))))
    }
}

fn service(number: u64) -> String {
    format!("storm-{}", number % SERVICES)
}

/// The id that a client chooses for its lease; zero would leave the choice to etcd.
fn lease(number: u64) -> i64 {
    number as i64 + 1
}
