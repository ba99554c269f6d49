//! `locks`: which locks are claimed, by whom, and what can be done about it.

mod ask;
mod deadlocks;
mod release;
mod show;

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use stanchion_client::{
    Client,
    proto::{Lock, LockClaim, LockMode, YieldRequest},
};

use super::{
    Outcome,
    connection::Connection,
    exit::Exit,
    failure::Failure,
    output::{self, Table},
    parse,
};

/// List the locks that are claimed; show one, ask for it, take it by force, find deadlocks
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  stanchion locks\n  stanchion locks --watch\n  \
                  stanchion locks show nightly"
)]
pub(crate) struct Locks {
    #[command(subcommand)]
    action: Option<Action>,

    /// Only locks whose name begins so
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,

    /// Lists them again whenever something has changed, until it is interrupted
    #[arg(long)]
    watch: bool,

    /// How often it is looked for changes
    #[arg(long, value_parser = parse::duration, value_name = "DURATION", default_value = "1s",
          requires = "watch")]
    interval: Duration,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Subcommand)]
enum Action {
    Show(show::Show),
    Yield(ask::Yield),
    Release(release::Release),
    Deadlocks(deadlocks::Deadlocks),
}

// === impl Locks ===

impl Locks {
    pub(super) fn connection(&self) -> &Connection {
        match &self.action {
            None => &self.connection,
            Some(Action::Show(command)) => &command.connection,
            Some(Action::Yield(command)) => &command.connection,
            Some(Action::Release(command)) => &command.connection,
            Some(Action::Deadlocks(command)) => &command.connection,
        }
    }

    pub(super) async fn run(self) -> Outcome {
        match self.action {
            None => self.list().await,
            Some(Action::Show(command)) => command.run().await,
            Some(Action::Yield(command)) => command.run().await,
            Some(Action::Release(command)) => command.run().await,
            Some(Action::Deadlocks(command)) => command.run().await,
        }
    }

    async fn list(&self) -> Outcome {
        let client = self.connection.client()?;
        let mut shown = client.locks(&self.prefix).await?;
        self.show(&shown)?;
        if !self.watch {
            return Ok(Exit::Ok);
        }
        loop {
            shown = self.next(&client, shown).await?;
            self.show(&shown)?;
        }
    }

    /// Waits until there is something else than what is `shown`.
    async fn next(&self, client: &Client, shown: Vec<Lock>) -> Result<Vec<Lock>, Failure> {
        loop {
            tokio::time::sleep(self.interval).await;
            let locks = client.locks(&self.prefix).await?;
            if locks != shown {
                return Ok(locks);
            }
        }
    }

    fn show(&self, locks: &[Lock]) -> Result<(), Failure> {
        if self.connection.is_json() {
            let locks: Vec<_> = locks.iter().map(lock_json).collect();
            let value = json!({ "locks": locks });
            return match self.watch {
                true => output::json_line(&value),
                false => output::json(&value),
            };
        }
        let mut table = Table::new([
            "LOCK", "MODE", "HOLDERS", "OWNER", "CLIENT", "FROM", "TOKEN", "HELD FOR", "WAITERS",
            "ASKED",
        ]);
        for lock in locks {
            let holder = lock.holder.clone().unwrap_or_default();
            table.row([
                lock.lock.clone(),
                mode(&holder),
                lock.holder_count.to_string(),
                holder.owner,
                holder.client_id,
                holder.address,
                holder.fencing_token.to_string(),
                output::ago(holder.hold_time),
                lock.waiter_count.to_string(),
                asked(holder.yield_request.as_ref()),
            ]);
        }
        table.print("no locks")
    }
}

/// Who asks a holder to yield, in a word.
fn asked(request: Option<&YieldRequest>) -> String {
    request.map_or_else(String::new, |request| match request.actor.as_str() {
        "" => "yes".into(),
        actor => format!("by {actor}"),
    })
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
        "contention": lock.contention.as_ref().map(|contention| json!({
            "since": output::time(contention.since),
            "acquisition_count": contention.acquisition_count,
            "contended_count": contention.contended_count,
        })),
        "delay": lock.delay.as_ref().map(|delay| json!({
            "fencing_token": delay.fencing_token,
            "owner": delay.owner,
            "client_id": delay.client_id,
            "delay_seconds": output::seconds(delay.delay),
            "begin_time": delay.begin_time.map(|_| output::time(delay.begin_time)),
        })),
        "revision": lock.revision,
    })
}

fn claim_json(claim: &LockClaim) -> Value {
    json!({
        "fencing_token": claim.fencing_token,
        "owner": claim.owner,
        "client_id": claim.client_id,
        "address": claim.address,
        "held": claim.held,
        "holds": claim.holds,
        "mode": mode_name(claim),
        "permits": claim.permits.map(|permits| json!({
            "count": permits.count,
            "total": permits.total,
        })),
        "position": claim.position,
        "create_time": output::time(claim.create_time),
        "hold_time": claim.hold_time.map(|_| output::time(claim.hold_time)),
        "yield_request": claim.yield_request.as_ref().map(|request| json!({
            "actor": request.actor,
            "comment": request.comment,
            "request_time": output::time(request.request_time),
        })),
        "metadata": claim.metadata,
        "revision": claim.revision,
    })
}
