//! `sessions`: who is there.

use clap::Args;
use serde_json::{Value, json};
use stanchion_client::proto::Session;

use super::{
    Outcome,
    connection::Connection,
    exit::Exit,
    output::{self, Table},
};

/// List the live sessions, without their secret ids
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  stanchion sessions\n  stanchion sessions --client-id shop-7")]
pub(crate) struct Sessions {
    /// Only sessions with this client id
    #[arg(long, value_name = "NAME")]
    client_id: Option<String>,

    #[command(flatten)]
    pub(super) connection: Connection,
}

// === impl Sessions ===

impl Sessions {
    pub(super) async fn run(self) -> Outcome {
        let client_id = self.client_id.as_deref().unwrap_or_default();
        let sessions = self.connection.client()?.sessions(client_id).await?;
        if self.connection.is_json() {
            let sessions: Vec<_> = sessions.iter().map(to_json).collect();
            output::json(&json!({ "sessions": sessions }))?;
            return Ok(Exit::Ok);
        }
        let mut table = Table::new([
            "CLIENT",
            "PRINCIPAL",
            "TTL",
            "INSTANCES",
            "LOCKS",
            "ELECTIONS",
            "BARRIERS",
            "OPENED",
        ]);
        for session in sessions {
            table.row([
                session.client_id,
                session.principal,
                output::seconds(session.ttl)
                    .map(|ttl| format!("{ttl}s"))
                    .unwrap_or_default(),
                session.instance_count.to_string(),
                session.lock_count.to_string(),
                session.election_count.to_string(),
                session.barrier_count.to_string(),
                output::time(session.create_time),
            ]);
        }
        table.print("no sessions")?;
        Ok(Exit::Ok)
    }
}

fn to_json(session: &Session) -> Value {
    json!({
        "client_id": session.client_id,
        "principal": session.principal,
        "ttl_seconds": output::seconds(session.ttl),
        "instance_count": session.instance_count,
        "lock_count": session.lock_count,
        "election_count": session.election_count,
        "barrier_count": session.barrier_count,
        "create_time": output::time(session.create_time),
        "metadata": session.metadata,
        "revision": session.revision,
    })
}
