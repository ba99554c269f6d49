//! `locks show`: one lock, its holder and its waiters.

use clap::Args;
use serde_json::json;
use stanchion_client::{
    proto::{Lock, LockClaim, WatchLockRequest},
    watch::{Change, Update, UpdateKind},
};

use super::{asked, claim_json, lock_json, mode};
use crate::cli::{
    Outcome,
    connection::Connection,
    exit::Exit,
    failure::Failure,
    output::{self, Table},
};

/// Show who holds a lock and who waits for it
///
/// With --watch, then every change as it happens, until it is interrupted.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  stanchion locks show nightly\n  \
                        stanchion locks show nightly --watch")]
pub(super) struct Show {
    /// Name of the lock
    lock: String,

    /// Follows it
    #[arg(long)]
    watch: bool,

    #[command(flatten)]
    pub(super) connection: Connection,
}

// === impl Show ===

impl Show {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client()?;
        let lock = client.get_lock(&self.lock).await?;
        if !self.watch {
            self.tell(&lock)?;
            return Ok(Exit::Ok);
        }
        let mut watch = client.watch(WatchLockRequest {
            namespace: client.namespace().into(),
            lock: self.lock.clone(),
            ..Default::default()
        });
        loop {
            self.told(watch.next().await?)?;
        }
    }

    fn tell(&self, lock: &Lock) -> Result<(), Failure> {
        if self.connection.is_json() {
            return output::json(&lock_json(lock));
        }
        let mut table = Table::new([
            "PLACE", "MODE", "OWNER", "CLIENT", "FROM", "TOKEN", "WAITING", "HELD FOR", "ASKED",
        ]);
        for claim in lock.holders.iter().chain(&lock.waiters) {
            let (place, waiting) = match claim.held {
                true => ("holder".into(), String::new()),
                false => (claim.position.to_string(), output::ago(claim.create_time)),
            };
            table.row([
                place,
                mode(claim),
                claim.owner.clone(),
                claim.client_id.clone(),
                claim.address.clone(),
                claim.fencing_token.to_string(),
                waiting,
                output::ago(claim.hold_time),
                asked(claim.yield_request.as_ref()),
            ]);
        }
        let Some(delay) = &lock.delay else {
            return table.print(&format!("{} is free", lock.lock));
        };
        output::note(&format!(
            "{}: nobody is granted it for {} s because {} ({}, token {}) died",
            lock.lock,
            output::seconds(delay.delay).unwrap_or_default(),
            delay.owner,
            delay.client_id,
            delay.fencing_token
        ))?;
        table.print("nobody waits")
    }

    fn told(&self, update: Update<LockClaim>) -> Result<(), Failure> {
        match update.kind {
            UpdateKind::Current => Ok(()),
            UpdateKind::Snapshot { items, .. } => {
                if items.is_empty() && !self.connection.is_json() {
                    return output::note(&format!("{} is free", self.lock));
                }
                items
                    .iter()
                    .try_for_each(|claim| self.line("is", claim, update.revision))
            }
            UpdateKind::Delta { changes, .. } => changes.iter().try_for_each(|change| {
                let (kind, claim) = match change {
                    Change::Added(claim) => ("added", claim),
                    Change::Modified(claim) => ("modified", claim),
                    Change::Deleted(claim, _) => ("gone", claim),
                };
                self.line(kind, claim, update.revision)
            }),
        }
    }

    fn line(&self, kind: &str, claim: &LockClaim, revision: i64) -> Result<(), Failure> {
        if self.connection.is_json() {
            let claim = claim_json(claim);
            return output::json_line(&json!({"type": kind, "revision": revision, "claim": claim}));
        }
        let stands = match claim.held {
            true => "holds",
            false => "waits",
        };
        let asked = match asked(claim.yield_request.as_ref()) {
            asked if asked.is_empty() => asked,
            asked => format!(", asked to yield: {asked}"),
        };
        output::line(&format!(
            "{kind:8} {stands} token {} {} {}{asked}",
            claim.fencing_token, claim.owner, claim.client_id
        ))
    }
}
