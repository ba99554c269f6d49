//! `locks deadlocks`: sessions that wait for each other.

use clap::Args;
use serde_json::{Value, json};
use stanchion_client::proto::{LockParty, LockWait};

use crate::cli::{Outcome, connection::Connection, exit::Exit, output};

/// Find sessions that wait for each other's locks, in all namespaces
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stanchion locks deadlocks\n\nExits 4 if there are some.")]
pub(super) struct Deadlocks {
    #[command(flatten)]
    pub(super) connection: Connection,
}

// === impl Deadlocks ===

impl Deadlocks {
    pub(super) async fn run(self) -> Outcome {
        let found = self.connection.client()?.find_deadlocks().await?;
        let none = found.deadlocks.is_empty();
        if self.connection.is_json() {
            let rings = found.deadlocks.iter().map(|ring| ring.waits.as_slice());
            let rings: Vec<Vec<Value>> =
                rings.map(|ring| ring.iter().map(wait).collect()).collect();
            output::json(&json!({"deadlocks": rings, "truncated": found.truncated}))?;
        } else if none {
            output::note("no deadlocks")?;
        }
        if !self.connection.is_json() {
            for (number, ring) in (1..).zip(&found.deadlocks) {
                output::line(&format!("deadlock {number}:"))?;
                for wait in &ring.waits {
                    output::line(&words(wait))?;
                }
            }
        }
        Ok(if none { Exit::Ok } else { Exit::Conflict })
    }
}

fn words(wait: &LockWait) -> String {
    format!(
        "  {} waits for {}/{}, held by {}",
        name(wait.waiter.as_ref()),
        wait.namespace,
        wait.lock,
        name(wait.holder.as_ref())
    )
}

/// What a person calls the owner of a claim.
fn name(party: Option<&LockParty>) -> String {
    let Some(party) = party else {
        return String::new();
    };
    match (party.owner.as_str(), party.client_id.as_str()) {
        ("", "") => format!("the session of revision {}", party.session_revision),
        (owner, "") => owner.into(),
        ("", client) => client.into(),
        (owner, client) => format!("{owner} ({client})"),
    }
}

fn wait(wait: &LockWait) -> Value {
    json!({
        "namespace": wait.namespace,
        "lock": wait.lock,
        "waiter": wait.waiter.as_ref().map(party),
        "holder": wait.holder.as_ref().map(party),
    })
}

fn party(party: &LockParty) -> Value {
    json!({
        "client_id": party.client_id,
        "owner": party.owner,
        "fencing_token": party.fencing_token,
        "session_revision": party.session_revision,
    })
}
