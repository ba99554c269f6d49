//! `locks`: which locks are claimed, and by whom.

use clap::Args;
use serde_json::{Value, json};
use stanchion_client::proto::{Lock, LockClaim, LockMode};

use super::{
    Outcome,
    connection::Connection,
    exit::Exit,
    failure::Failure,
    output::{self, Table},
};

/// List the locks that are held, or the queue of one
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  stanchion locks\n  stanchion locks --queue nightly")]
pub(crate) struct Locks {
    /// Only locks whose name begins so
    #[arg(
        default_value = "",
        hide_default_value = true,
        conflicts_with = "queue"
    )]
    prefix: String,

    /// Shows the holder and the waiters of this lock
    #[arg(long, value_name = "LOCK")]
    queue: Option<String>,

    #[command(flatten)]
    pub(super) connection: Connection,
}

// === impl Locks ===

impl Locks {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client()?;
        match &self.queue {
            Some(lock) => self.show_queue(client.get_lock(lock).await?)?,
            None => self.show_locks(client.locks(&self.prefix).await?)?,
        }
        Ok(Exit::Ok)
    }

    fn show_locks(&self, locks: Vec<Lock>) -> Result<(), Failure> {
        if self.connection.is_json() {
            let locks: Vec<_> = locks.iter().map(lock_json).collect();
            return output::json(&json!({ "locks": locks }));
        }
        let mut table = Table::new([
            "LOCK", "MODE", "HOLDERS", "OWNER", "CLIENT", "TOKEN", "HELD FOR", "WAITERS",
        ]);
        for lock in locks {
            let holder = lock.holder.unwrap_or_default();
            table.row([
                lock.lock,
                mode(&holder),
                lock.holder_count.to_string(),
                holder.owner,
                holder.client_id,
                holder.fencing_token.to_string(),
                output::ago(holder.create_time),
                lock.waiter_count.to_string(),
            ]);
        }
        table.print("no locks")
    }

    fn show_queue(&self, lock: Lock) -> Result<(), Failure> {
        if self.connection.is_json() {
            return output::json(&lock_json(&lock));
        }
        let mut table = Table::new(["PLACE", "MODE", "OWNER", "CLIENT", "TOKEN", "SINCE"]);
        for claim in lock.holders.iter().chain(&lock.waiters) {
            table.row([
                match claim.held {
                    true => "holder".into(),
                    false => claim.position.to_string(),
                },
                mode(claim),
                claim.owner.clone(),
                claim.client_id.clone(),
                claim.fencing_token.to_string(),
                output::ago(claim.create_time),
            ]);
        }
        table.print(&format!("{} is free", lock.lock))
    }
}

/// `exclusive`, `shared`, or the permits, such as `2 of 5`.
fn mode(claim: &LockClaim) -> String {
    match &claim.permits {
        Some(permits) => format!("{} of {}", permits.count, permits.total),
        None => mode_name(claim).into(),
    }
}

fn mode_name(claim: &LockClaim) -> &'static str {
    match claim.mode() {
        LockMode::Exclusive => "exclusive",
        LockMode::Shared => "shared",
        LockMode::Permits => "permits",
        LockMode::Unspecified => "",
    }
}

fn lock_json(lock: &Lock) -> Value {
    json!({
        "namespace": lock.namespace,
        "lock": lock.lock,
        "holder": lock.holder.as_ref().map(claim_json),
        "holders": lock.holders.iter().map(claim_json).collect::<Vec<_>>(),
        "holder_count": lock.holder_count,
        "waiters": lock.waiters.iter().map(claim_json).collect::<Vec<_>>(),
        "waiter_count": lock.waiter_count,
        "revision": lock.revision,
    })
}

fn claim_json(claim: &LockClaim) -> Value {
    json!({
        "fencing_token": claim.fencing_token,
        "owner": claim.owner,
        "client_id": claim.client_id,
        "held": claim.held,
        "holds": claim.holds,
        "mode": mode_name(claim),
        "permits": claim.permits.map(|permits| json!({
            "count": permits.count,
            "total": permits.total,
        })),
        "position": claim.position,
        "create_time": output::time(claim.create_time),
        "metadata": claim.metadata,
        "revision": claim.revision,
    })
}
