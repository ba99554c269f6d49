//! `drain`: takes an instance out, and returns when nobody sends it anything any more.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use stanchion_client::proto::{DrainInstanceResponse, DrainOutcome};

use super::{Outcome, connection::Connection, exit::Exit, failure::Failure, output, parse};

/// Take an instance out of use, and remove it once whoever watches its service knows
///
/// Returns when it is safe to stop the instance: as a preStop hook, before it gets its signal. Exits
/// 0 if every subscriber knew, 6 if the deadline came first (the laggards are named, the instance
/// is removed all the same), 3 if there is no such instance or it went otherwise meanwhile. An
/// instance that is being drained already is waited for.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  stanchion drain web/i-7\n  stanchion drain web/i-7 --deadline 1m && kill $PID"
)]
pub(crate) struct Drain {
    /// The instance, as SERVICE/ID
    #[arg(value_parser = parse::instance)]
    instance: (String, String),

    /// How long to wait for subscribers, 1s to 10m [default: 20s]
    #[arg(long, value_parser = parse::duration, value_name = "DURATION")]
    deadline: Option<Duration>,

    #[command(flatten)]
    pub(super) connection: Connection,
}

// === impl Drain ===

impl Drain {
    pub(super) async fn run(self) -> Outcome {
        let (service, id) = &self.instance;
        let instance = format!("{service}/{id}");
        let client = self.connection.client()?;
        let mut drain = client.drain(service, id, self.deadline);
        let mut last = DrainInstanceResponse::default();
        while let Some(progress) = drain.next().await? {
            if progress.outcome() == DrainOutcome::Unspecified {
                output::note(&format!(
                    "{} of {} subscribers know",
                    progress.done_count, progress.subscriber_count
                ))?;
            }
            last = progress;
        }
        if self.connection.is_json() {
            output::json(&to_json(&instance, &last))?;
        } else {
            tell(&instance, &last)?;
        }
        Ok(match last.outcome() {
            DrainOutcome::Acknowledged => Exit::Ok,
            DrainOutcome::Deadline => Exit::Laggards,
            DrainOutcome::Overtaken | DrainOutcome::Unspecified => Exit::NotFound,
        })
    }
}

fn tell(instance: &str, last: &DrainInstanceResponse) -> Result<(), Failure> {
    let (done, all) = (last.done_count, last.subscriber_count);
    match last.outcome() {
        DrainOutcome::Acknowledged => {
            return output::line(&format!("drained {instance}, {all} subscribers know"));
        }
        DrainOutcome::Deadline => {
            output::line(&format!(
                "removed {instance} at the deadline, {done} of {all} subscribers know"
            ))?;
        }
        DrainOutcome::Overtaken | DrainOutcome::Unspecified => {
            return output::note(&format!("{instance} went otherwise meanwhile"));
        }
    }
    for laggard in &last.laggards {
        output::note(&format!(
            "laggard: {} at {}, on replica {}{}",
            match laggard.client_id.as_str() {
                "" => "a client without a name",
                name => name,
            },
            laggard.address,
            laggard.replica,
            if laggard.broken { ", broken" } else { "" }
        ))?;
    }
    for replica in &last.silent_replicas {
        output::note(&format!("laggard: replica {replica} did not report"))?;
    }
    Ok(())
}

fn to_json(instance: &str, last: &DrainInstanceResponse) -> Value {
    let laggards: Vec<_> = last
        .laggards
        .iter()
        .map(|laggard| {
            json!({
                "client_id": laggard.client_id,
                "address": laggard.address,
                "replica": laggard.replica,
                "broken": laggard.broken,
            })
        })
        .collect();
    json!({
        "instance": instance,
        "outcome": output::lower(last.outcome().as_str_name(), "DRAIN_OUTCOME_"),
        "subscriber_count": last.subscriber_count,
        "done_count": last.done_count,
        "laggards": laggards,
        "silent_replicas": last.silent_replicas,
    })
}
