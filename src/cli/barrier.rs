//! `barrier`: waits for others, and may run a command when all are there.

use std::{ffi::OsString, time::Duration};

use clap::Args;
use rustix::process::Signal;
use serde_json::json;
use stanchion_client::{BarrierPass, Client, SessionOptions, proto::ErrorReason};

use super::{
    Outcome,
    child::Child,
    connection::{self, Connection, host},
    exit::Exit,
    failure::Failure,
    output, parse,
    signals::Signals,
};

/// Wait at a barrier until all are there
///
/// Waits for ever, unless told --try or --wait. The command, if there is one, is run once all are
/// there. It finds which release that was in STANCHION_BARRIER_GENERATION, the same for all, and in
/// STANCHION_BARRIER_INDEX its place among them, from 0. Whoever is stopped while it waits is not
/// counted. To leave together as well, wait at another barrier when the work is done.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  stanchion barrier step-7 --parties 3 -- ./work.sh\n  \
                        stanchion barrier step-7 --parties 3 --wait 30s || echo 'not all came'\n  \
                        stanchion barrier begin --parties 3 -- ./work.sh && \
                        stanchion barrier end --parties 3\n\n\
                        Exits 4 if --try finds others missing, 124 if --wait ends in vain."
)]
pub(crate) struct Barrier {
    /// Name of the barrier
    barrier: String,

    /// How many are to be there, this one included: 2 to 100
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(2..=100))]
    parties: u32,

    /// Does not wait
    #[arg(long = "try", conflicts_with = "wait")]
    no_wait: bool,

    /// Waits at most so long
    #[arg(long, value_parser = parse::duration, value_name = "DURATION")]
    wait: Option<Duration>,

    /// How long this one still counts after its machine is gone, 5s to 10m
    #[arg(long, value_parser = parse::duration, value_name = "DURATION")]
    ttl: Option<Duration>,

    /// The command
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,

    #[command(flatten)]
    pub(super) connection: Connection,
}

// === impl Barrier ===

impl Barrier {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client_with(SessionOptions {
            ttl: self.ttl,
            metadata: [("host".to_owned(), host())].into(),
            ..SessionOptions::default()
        })?;
        let mut signals = Signals::catch()?;
        let passed = self.enter(&client, &mut signals).await;
        // Nothing hangs on it any more, however long the command takes.
        connection::close(&client).await;
        let passed = match passed? {
            Ok(passed) => passed,
            Err(signal) => return Ok(Exit::of_signal(signal)),
        };
        if self.command.is_empty() {
            self.tell(&passed)?;
            return Ok(Exit::Ok);
        }
        let environment = [
            (
                "STANCHION_BARRIER_GENERATION",
                passed.generation.to_string(),
            ),
            ("STANCHION_BARRIER_INDEX", passed.index.to_string()),
        ];
        let child = Child::spawn(&self.command, environment, signals)?;
        let never = std::future::pending::<()>();
        child.run_under("nothing", never, Duration::ZERO).await
    }

    /// Waits, unless a signal comes first.
    async fn enter(
        &self,
        client: &Client,
        signals: &mut Signals,
    ) -> Result<Result<BarrierPass, Signal>, Failure> {
        let request = client.barrier(&self.barrier, self.parties);
        let entering = async {
            match (self.no_wait, self.wait) {
                (true, _) => request.try_enter().await,
                (false, Some(wait)) => request.enter_timeout(wait).await,
                (false, None) => request.enter().await,
            }
        };
        let passed = match signals.unless_ending(entering).await {
            Ok(passed) => passed.map_err(Failure::from),
            Err(signal) => return Ok(Err(signal)),
        };
        passed.map(Ok).map_err(|failure| match failure.reason() {
            ErrorReason::BarrierNotReleased if self.wait.is_some() => {
                failure.with_exit(Exit::TimedOut)
            }
            _ => failure,
        })
    }

    fn tell(&self, passed: &BarrierPass) -> Result<(), Failure> {
        if self.connection.is_json() {
            return output::json(&json!({
                "barrier": self.barrier,
                "generation": passed.generation,
                "index": passed.index,
                "parties": passed.parties,
            }));
        }
        output::line(&format!(
            "{} of {} at {}, generation {}",
            passed.index + 1,
            passed.parties,
            self.barrier,
            passed.generation
        ))
    }
}
