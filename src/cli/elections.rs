//! `elections`: which elections there are, and who leads them.

use clap::Args;
use serde_json::json;

use super::{
    Outcome,
    connection::Connection,
    exit::Exit,
    leader,
    output::{self, Table},
};

/// List the elections that have candidates, and their leaders
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stanchion elections")]
pub(crate) struct Elections {
    /// Only elections whose name begins so
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,

    #[command(flatten)]
    pub(super) connection: Connection,
}

// === impl Elections ===

impl Elections {
    pub(super) async fn run(self) -> Outcome {
        let elections = self.connection.client()?.elections(&self.prefix).await?;
        if self.connection.is_json() {
            let elections: Vec<_> = elections.iter().map(leader::to_json).collect();
            output::json(&json!({ "elections": elections }))?;
            return Ok(Exit::Ok);
        }
        let mut table = Table::new([
            "ELECTION",
            "LEADER",
            "CLIENT",
            "TERM",
            "PROCLAIMS",
            "CANDIDATES",
        ]);
        for election in elections {
            let leader = election.leader.unwrap_or_default();
            table.row([
                election.election,
                leader.candidate.clone(),
                leader.client_id.clone(),
                leader.term.to_string(),
                leader::proclaimed(&leader),
                election.candidate_count.to_string(),
            ]);
        }
        table.print("no elections")?;
        Ok(Exit::Ok)
    }
}
