//! `barriers`: at which barriers somebody waits, and who.

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use stanchion_client::proto::Barrier;

use super::{
    Outcome,
    connection::Connection,
    exit::Exit,
    output::{self, Table},
};

/// List the barriers at which somebody waits; show one
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  stanchion barriers\n  stanchion barriers show step-7"
)]
pub(crate) struct Barriers {
    #[command(subcommand)]
    action: Option<Action>,

    /// Only barriers whose name begins so
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Subcommand)]
enum Action {
    Show(Show),
}

/// Show who waits at a barrier, and how it was released last
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stanchion barriers show step-7")]
struct Show {
    /// Name of the barrier
    barrier: String,

    #[command(flatten)]
    connection: Connection,
}

// === impl Barriers ===

impl Barriers {
    pub(super) fn connection(&self) -> &Connection {
        match &self.action {
            None => &self.connection,
            Some(Action::Show(command)) => &command.connection,
        }
    }

    pub(super) async fn run(self) -> Outcome {
        if let Some(Action::Show(command)) = self.action {
            return command.run().await;
        }
        let barriers = self.connection.client()?.barriers(&self.prefix).await?;
        if self.connection.is_json() {
            let barriers: Vec<_> = barriers.iter().map(to_json).collect();
            output::json(&json!({ "barriers": barriers }))?;
            return Ok(Exit::Ok);
        }
        let mut table = Table::new(["BARRIER", "PARTIES", "WAITING", "LAST RELEASED"]);
        for barrier in barriers {
            let last = barrier.last_release.unwrap_or_default();
            table.row([
                barrier.barrier,
                barrier.parties.to_string(),
                barrier.participant_count.to_string(),
                output::ago(last.release_time),
            ]);
        }
        table.print("nobody waits")?;
        Ok(Exit::Ok)
    }
}

// === impl Show ===

impl Show {
    async fn run(self) -> Outcome {
        let barrier = self.connection.client()?.get_barrier(&self.barrier).await?;
        if self.connection.is_json() {
            output::json(&to_json(&barrier))?;
            return Ok(Exit::Ok);
        }
        if let Some(last) = &barrier.last_release {
            output::note(&format!(
                "{} were released {} ago, generation {}",
                last.parties,
                output::ago(last.release_time),
                last.generation
            ))?;
        }
        let mut table = Table::new(["CLIENT", "FROM", "PARTIES", "WAITING"]);
        for participant in &barrier.participants {
            table.row([
                participant.client_id.clone(),
                participant.address.clone(),
                participant.parties.to_string(),
                output::ago(participant.create_time),
            ]);
        }
        table.print("nobody waits")?;
        Ok(Exit::Ok)
    }
}

fn to_json(barrier: &Barrier) -> Value {
    json!({
        "namespace": barrier.namespace,
        "barrier": barrier.barrier,
        "parties": barrier.parties,
        "participant_count": barrier.participant_count,
        "participants": barrier.participants.iter().map(|participant| json!({
            "client_id": participant.client_id,
            "address": participant.address,
            "parties": participant.parties,
            "create_time": output::time(participant.create_time),
            "revision": participant.revision,
        })).collect::<Vec<_>>(),
        "last_release": barrier.last_release.as_ref().map(|last| json!({
            "generation": last.generation,
            "parties": last.parties,
            "release_time": output::time(last.release_time),
        })),
        "revision": barrier.revision,
    })
}
