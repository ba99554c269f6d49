//! `latch`: creates, counts down, waits for, shows and deletes latches.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use stanchion_client::proto::{ErrorReason, Guard, Latch as Shown};

use super::{
    Outcome,
    connection::Connection,
    exit::Exit,
    failure::Failure,
    output::{self, Table},
    parse,
};

/// Wait until enough has happened, once: create, count down and await latches
#[derive(Debug, Subcommand)]
pub(crate) enum Latch {
    Create(Create),
    CountDown(CountDown),
    Await(Await),
    Get(Get),
    List(List),
    Delete(Delete),
}

/// Create a latch that opens when so many parties have counted it down
///
/// One that is there with the same count is left as it is; exits 4 if its count is another one.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stanchion latch create ready --count 3 --lifetime 1h")]
pub(crate) struct Create {
    /// Name of the latch
    latch: String,

    /// How many parties open it: 1 to 1000
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,

    /// How long it lives, 1m to 30d [default: 24h]
    #[arg(long, value_parser = parse::duration, value_name = "DURATION")]
    lifetime: Option<Duration>,

    /// Only while this lock is held: LOCK under `stanchion lock`, or LOCK=TOKEN
    #[arg(long, value_parser = parse::guard, value_name = "LOCK")]
    guard: Option<Guard>,

    #[command(flatten)]
    connection: Connection,
}

/// Count a latch down for a party, once however often this is called
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stanchion latch count-down ready node-1")]
pub(crate) struct CountDown {
    /// Name of the latch
    latch: String,

    /// Who counts, or what has happened
    party: String,

    /// Only while this lock is held: LOCK under `stanchion lock`, or LOCK=TOKEN
    #[arg(long, value_parser = parse::guard, value_name = "LOCK")]
    guard: Option<Guard>,

    #[command(flatten)]
    connection: Connection,
}

/// Wait until a latch is open
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  stanchion latch await ready --wait 30s && ./start.sh\n\n\
                        Exits 3 if there is no such latch, 124 if --wait ends in vain."
)]
pub(crate) struct Await {
    /// Name of the latch
    latch: String,

    /// Waits at most so long
    #[arg(long, value_parser = parse::duration, value_name = "DURATION")]
    wait: Option<Duration>,

    #[command(flatten)]
    connection: Connection,
}

/// Show a latch and who has counted it down
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stanchion latch get ready")]
pub(crate) struct Get {
    /// Name of the latch
    latch: String,

    #[command(flatten)]
    connection: Connection,
}

/// List latches
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stanchion latch list -o json")]
pub(crate) struct List {
    /// Only latches whose name begins so
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,

    #[command(flatten)]
    connection: Connection,
}

/// Delete a latch with all that was counted
///
/// Exits 3 if it was gone.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stanchion latch delete ready")]
pub(crate) struct Delete {
    /// Name of the latch
    latch: String,

    /// Only while this lock is held: LOCK under `stanchion lock`, or LOCK=TOKEN
    #[arg(long, value_parser = parse::guard, value_name = "LOCK")]
    guard: Option<Guard>,

    #[command(flatten)]
    connection: Connection,
}

// === impl Latch ===

impl Latch {
    pub(super) fn connection(&self) -> &Connection {
        match self {
            Self::Create(command) => &command.connection,
            Self::CountDown(command) => &command.connection,
            Self::Await(command) => &command.connection,
            Self::Get(command) => &command.connection,
            Self::List(command) => &command.connection,
            Self::Delete(command) => &command.connection,
        }
    }

    pub(super) async fn run(self) -> Outcome {
        match self {
            Self::Create(command) => command.run().await,
            Self::CountDown(command) => command.run().await,
            Self::Await(command) => command.run().await,
            Self::Get(command) => command.run().await,
            Self::List(command) => command.run().await,
            Self::Delete(command) => command.run().await,
        }
    }
}

// === impl Create ===

impl Create {
    async fn run(self) -> Outcome {
        let latch = of(&self.connection, &self.latch, self.guard.as_ref())?;
        let latch = match self.lifetime {
            Some(lifetime) => latch.lifetime(lifetime),
            None => latch,
        };
        let there = latch.create(self.count).await?;
        if self.connection.is_json() {
            let latch = there.latch.as_ref().map(to_json);
            output::json(&json!({"created": there.created, "latch": latch}))?;
        } else if there.created {
            output::line(&format!("created {}", self.latch))?;
        } else {
            output::note(&format!("{} was there", self.latch))?;
        }
        Ok(Exit::Ok)
    }
}

// === impl CountDown ===

impl CountDown {
    async fn run(self) -> Outcome {
        let latch = of(&self.connection, &self.latch, self.guard.as_ref())?;
        let counted = latch.count_down(&self.party).await?;
        if self.connection.is_json() {
            output::json(&json!({
                "latch": self.latch,
                "party": self.party,
                "counted": counted.counted,
                "remaining": counted.remaining,
                "open": counted.open,
            }))?;
        } else {
            let stands = match counted.open {
                true => "is open".to_owned(),
                false => format!("waits for {} more", counted.remaining),
            };
            output::line(&format!("{} {stands}", self.latch))?;
        }
        Ok(Exit::Ok)
    }
}

// === impl Await ===

impl Await {
    async fn run(self) -> Outcome {
        let latch = of(&self.connection, &self.latch, None)?;
        // That nobody answers is told at once, and only later waited for.
        latch.get().await?;
        let open = match self.wait {
            Some(wait) => latch.wait_timeout(wait).await,
            None => latch.wait().await,
        };
        open.map_err(|error| match Failure::from(error) {
            failure if failure.reason() == ErrorReason::LatchNotOpen => {
                failure.with_exit(Exit::TimedOut)
            }
            failure => failure,
        })?;
        if self.connection.is_json() {
            output::json(&json!({"latch": self.latch, "open": true}))?;
        }
        Ok(Exit::Ok)
    }
}

// === impl Get ===

impl Get {
    async fn run(self) -> Outcome {
        let latch = of(&self.connection, &self.latch, None)?.get().await?;
        if self.connection.is_json() {
            let mut shown = to_json(&latch);
            let arrivals = latch.arrivals.iter().map(|arrival| {
                json!({
                    "party": arrival.party,
                    "create_time": output::time(arrival.create_time),
                    "revision": arrival.revision,
                })
            });
            shown["arrivals"] = arrivals.collect();
            output::json(&shown)?;
            return Ok(Exit::Ok);
        }
        output::note(&words(&latch))?;
        let mut table = Table::new(["PARTY", "COUNTED"]);
        for arrival in &latch.arrivals {
            table.row([arrival.party.clone(), output::time(arrival.create_time)]);
        }
        table.print("nobody has counted it down")?;
        Ok(Exit::Ok)
    }
}

// === impl List ===

impl List {
    async fn run(self) -> Outcome {
        let latches = self.connection.client()?.latches(&self.prefix).await?;
        if self.connection.is_json() {
            let latches: Vec<_> = latches.iter().map(to_json).collect();
            output::json(&json!({ "latches": latches }))?;
            return Ok(Exit::Ok);
        }
        let mut table = Table::new(["LATCH", "COUNT", "MISSING", "CREATED", "LIFETIME", "BY"]);
        for latch in latches {
            let lifetime = latch
                .lifetime
                .and_then(|span| Duration::try_from(span).ok());
            table.row([
                latch.latch,
                latch.count.to_string(),
                latch.remaining.to_string(),
                output::time(latch.create_time),
                lifetime.map(output::short).unwrap_or_default(),
                latch.actor,
            ]);
        }
        table.print("no latches")?;
        Ok(Exit::Ok)
    }
}

// === impl Delete ===

impl Delete {
    async fn run(self) -> Outcome {
        let latch = of(&self.connection, &self.latch, self.guard.as_ref())?;
        let deleted = latch.delete().await?;
        if self.connection.is_json() {
            output::json(&json!({"latch": self.latch, "deleted": deleted}))?;
        } else if deleted {
            output::line(&format!("deleted {}", self.latch))?;
        } else {
            output::note(&format!("{} was not there", self.latch))?;
        }
        Ok(if deleted { Exit::Ok } else { Exit::NotFound })
    }
}

fn of(
    connection: &Connection,
    latch: &str,
    guard: Option<&Guard>,
) -> Result<stanchion_client::Latch, Failure> {
    let latch = connection.client()?.latch(latch);
    Ok(match guard {
        Some(guard) => latch.guard(guard.clone()),
        None => latch,
    })
}

fn words(latch: &Shown) -> String {
    let Shown {
        latch: name,
        count,
        remaining,
        ..
    } = latch;
    match latch.open {
        true => format!("{name} is open: {count} were to come"),
        false => format!("{name} waits for {remaining} of {count}"),
    }
}

fn to_json(latch: &Shown) -> Value {
    json!({
        "namespace": latch.namespace,
        "latch": latch.latch,
        "count": latch.count,
        "remaining": latch.remaining,
        "open": latch.open,
        "lifetime_seconds": output::seconds(latch.lifetime),
        "actor": latch.actor,
        "create_time": output::time(latch.create_time),
        "create_revision": latch.create_revision,
        "revision": latch.revision,
    })
}
