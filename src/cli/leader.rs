//! `leader`: who leads an election, now or from now on.

use clap::Args;
use serde_json::{Value, json};
use stanchion_client::{
    proto::{Candidate, Election},
    watch::{Change, UpdateKind},
};

use super::{
    Outcome,
    connection::Connection,
    exit::Exit,
    failure::Failure,
    output::{self, Table},
};

/// Show who leads an election and who stands for it
///
/// Exits 3 if nobody leads.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  stanchion leader scheduler\n  stanchion leader scheduler --watch\n  \
                        stanchion leader scheduler --proclaimed"
)]
pub(crate) struct Leader {
    /// Name of the election
    election: String,

    /// Goes on, and shows every new leader and what it proclaims
    #[arg(long, conflicts_with = "proclaimed")]
    watch: bool,

    /// Shows only what the leader proclaims
    #[arg(long)]
    proclaimed: bool,

    #[command(flatten)]
    pub(super) connection: Connection,
}

// === impl Leader ===

impl Leader {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client()?;
        let election = client.election(&self.election);
        if self.watch {
            let mut observed = election.observe();
            loop {
                let update = observed.next().await?;
                self.tell(update.revision, update.kind)?;
            }
        }
        let election = election.read().await?;
        match (&election.leader, self.proclaimed) {
            (Some(leader), true) => output::raw(&leader.proclamation)?,
            (None, true) => {}
            (_, false) => self.show(&election)?,
        }
        Ok(match election.leader {
            Some(_) => Exit::Ok,
            None => Exit::NotFound,
        })
    }

    fn show(&self, election: &Election) -> Result<(), Failure> {
        if self.connection.is_json() {
            return output::json(&to_json(election));
        }
        let mut table = Table::new(["PLACE", "CANDIDATE", "CLIENT", "TERM", "SINCE", "PROCLAIMS"]);
        for candidate in election.leader.iter().chain(&election.candidates) {
            table.row([
                match candidate.leads {
                    true => "leader".into(),
                    false => candidate.position.to_string(),
                },
                candidate.candidate.clone(),
                candidate.client_id.clone(),
                candidate.term.to_string(),
                output::ago(candidate.create_time),
                proclaimed(candidate),
            ]);
        }
        table.print(&format!("nobody stands for {}", election.election))
    }

    fn tell(&self, revision: i64, kind: UpdateKind<Candidate>) -> Result<(), Failure> {
        let (said, leader) = match kind {
            UpdateKind::Current => return Ok(()),
            UpdateKind::Snapshot { items, .. } => ("leads", items.into_iter().next()),
            UpdateKind::Delta { changes, .. } => match changes.into_iter().last() {
                Some(Change::Added(leader) | Change::Modified(leader)) => ("leads", Some(leader)),
                Some(Change::Deleted(leader, _)) => ("led", Some(leader)),
                None => return Ok(()),
            },
        };
        if self.connection.is_json() {
            let leader = leader.filter(|_| said == "leads");
            let leader = leader.as_ref().map(candidate_json);
            return output::json_line(&json!({"revision": revision, "leader": leader}));
        }
        output::line(&match leader {
            Some(leader) if said == "leads" => {
                let Candidate {
                    candidate, term, ..
                } = &leader;
                let mut line = format!("{candidate} leads in term {term}");
                if !leader.proclamation.is_empty() {
                    line = format!("{line}: {}", proclaimed(&leader));
                }
                line
            }
            _ => "nobody leads".into(),
        })
    }
}

pub(super) fn to_json(election: &Election) -> Value {
    json!({
        "namespace": election.namespace,
        "election": election.election,
        "leader": election.leader.as_ref().map(candidate_json),
        "candidates": election.candidates.iter().map(candidate_json).collect::<Vec<_>>(),
        "candidate_count": election.candidate_count,
        "revision": election.revision,
    })
}

fn candidate_json(candidate: &Candidate) -> Value {
    json!({
        "term": candidate.term,
        "candidate": candidate.candidate,
        "client_id": candidate.client_id,
        "leads": candidate.leads,
        "position": candidate.position,
        "proclamation": String::from_utf8_lossy(&candidate.proclamation),
        "metadata": candidate.metadata,
        "create_time": output::time(candidate.create_time),
        "revision": candidate.revision,
    })
}

/// What a candidate proclaims, on one line.
pub(super) fn proclaimed(candidate: &Candidate) -> String {
    let text = String::from_utf8_lossy(&candidate.proclamation);
    text.chars().filter(|c| !c.is_control()).collect()
}
