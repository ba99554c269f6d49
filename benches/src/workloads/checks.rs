//! Active checks: instances that one replica checks, half of them over TCP and half over HTTP.
//!
//! All are this program, at an address of the loopback each: as many targets as there would be, and
//! no shortage of local ports.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use stanchion_client::proto::{
    HealthCheck, HttpCheck, Instance, Port, TcpCheck, health_check::Kind,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::sleep,
};

use super::instances::register_batch;
use crate::{
    BenchError,
    http2::{Connection, Windows},
    meter::Meter,
    sample::{Goal, Metric, Sample},
    target::Site,
};

/// Time from one check of an instance to the next.
const INTERVAL: Duration = Duration::from_secs(10);
/// How long the first checks of all may take.
const WARM_UP_LIMIT: Duration = Duration::from_secs(60);
/// Instances of a service, and of a call that registers them.
const PER_SERVICE: u32 = 50;
/// What a target answers.
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 3\r\nconnection: close\r\n\r\nok\n";

/// How much of a core the checks take.
const CORE: Metric = Metric::small("core_percent", "core %");
/// Checks that came, of those that were to come.
const MADE: Metric = Metric::large("made_percent", "made %");

/// What a run of the workload is like.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// How many instances are checked, every 10 s each.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..=60_000))]
    instances: u32,
    /// Seconds that are measured: a multiple of 10, since checks come in no even order.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(10..=600))]
    seconds: u32,
}

/// What is wanted of it.
pub(crate) const GOALS: &[Goal] = &[Goal::at_most(CORE, 25.0, 50.0)];

/// Has one replica check them all.
pub(crate) async fn measure(site: &Site, options: &Options) -> Result<Sample, BenchError> {
    let unlistened = |source| BenchError::io("cannot listen for checks", source);
    let listener = TcpListener::bind("0.0.0.0:0").await.map_err(unlistened)?;
    let port = listener.local_addr().map_err(unlistened)?.port();
    let checked = Rc::new(Cell::new(0_u64));
    let load = async {
        register(site, options.instances, port).await?;
        let begun = Instant::now();
        while checked.get() < 2 * u64::from(options.instances) {
            if begun.elapsed() > WARM_UP_LIMIT {
                let checked = checked.get();
                return Err(BenchError::failed(format!(
                    "only {checked} checks were made"
                )));
            }
            sleep(Duration::from_millis(100)).await;
        }
        let before = checked.get();
        let meter = Meter::start(site).await?;
        sleep(Duration::from_secs(options.seconds.into())).await;
        meter.stop(|| checked.get() - before).await
    };
    let usage = tokio::select! {
        usage = load => usage?,
        error = serve(&listener, &checked) => return Err(error),
    };
    let seconds = usage.elapsed.as_secs_f64();
    let core = usage.server.as_secs_f64() / seconds * 100.0;
    let wanted = f64::from(options.instances) * seconds / INTERVAL.as_secs_f64();
    let made = usage.operations as f64 / wanted * 100.0;
    let mut sample = Sample::of(usage);
    sample.set(CORE, core);
    sample.set(MADE, made);
    if made < 90.0 {
        sample.warn("checks came late: the figure is of fewer than there were to be");
    }
    Ok(sample)
}

async fn register(site: &Site, count: u32, port: u16) -> Result<(), BenchError> {
    let mut connection = Connection::open(site.port(), Windows::Large).await?;
    let numbers: Vec<_> = (0..count).collect();
    for batch in numbers.chunks(PER_SERVICE as usize) {
        let instances = batch.iter().map(|number| instance(*number, port));
        register_batch(&mut connection, instances.collect()).await?;
    }
    Ok(())
}

fn instance(number: u32, port: u16) -> Instance {
    let kind = match number.is_multiple_of(2) {
        true => Kind::Tcp(TcpCheck::default()),
        false => Kind::Http(HttpCheck {
            path: "/healthz".to_owned(),
            ..HttpCheck::default()
        }),
    };
    Instance {
        service: format!("checked-{:04}", number / PER_SERVICE),
        instance_id: format!("instance-{number:05}"),
        address: format!("127.1.{}.{}", number / 250, number % 250 + 1),
        ports: vec![Port {
            port: port.into(),
            ..Port::default()
        }],
        checks: vec![HealthCheck {
            kind: Some(kind),
            interval: INTERVAL.try_into().ok(),
            ..HealthCheck::default()
        }],
        ..Instance::default()
    }
}

/// Serves every check; returns when that does not work any more.
async fn serve(listener: &TcpListener, checked: &Rc<Cell<u64>>) -> BenchError {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                checked.set(checked.get() + 1);
                tokio::spawn(answer(stream));
            }
            Err(source) => return BenchError::io("cannot accept checks", source),
        }
    }
}

/// Answers a request, if there is one.
async fn answer(mut stream: TcpStream) {
    let mut request = [0; 1024];
    if let Ok(1..) = stream.read(&mut request).await {
        // Whoever checks may have gone.
        let _ = stream.write_all(ANSWER).await;
    }
}
