//! `lock`: runs a command while a lock is held.

use std::{ffi::OsString, time::Duration};

use clap::Args;
use rustix::process::Signal;
use stanchion_client::{Client, LockGuard, LocksGuard, SessionOptions, proto::ErrorReason};

use super::{
    Outcome,
    child::{self, Child},
    connection::{self, Connection, host},
    exit::Exit,
    failure::Failure,
    output,
    parse::{self, FENCING_TOKEN},
    signals::Signals,
};

/// Run a command while a lock is held
///
/// Waits in the lock's queue for ever, unless told --try or --wait, and says on stderr where it waits.
/// The command finds the lock's
/// name in STANCHION_LOCK and its fencing token in STANCHION_FENCING_TOKEN; `config put --guard
/// LOCK` writes only while the lock is held. When the lock is lost the command gets TERM and then
/// KILL, and this exits 5. Signals are passed on; the lock is released when the command ends.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  stanchion lock nightly -- ./backup.sh\n  \
                        stanchion lock nightly --try -- ./backup.sh || echo 'already running'\n  \
                        stanchion lock deploy --wait 30s -- sh -c 'echo $STANCHION_FENCING_TOKEN'\n  \
                        stanchion lock index --shared -- ./search.sh\n  \
                        stanchion lock licences --permits 5 --weight 2 -- ./simulate.sh\n  \
                        stanchion lock db --also cache --also index -- ./migrate.sh\n\n\
                        Exits 4 if --try finds the lock held, 124 if --wait ends in vain.")]
pub(crate) struct Lock {
    /// Name of the lock
    lock: String,

    /// Another lock: holds all of them or none, and does not say where it waits. Their tokens are in
    /// STANCHION_FENCING_TOKENS, as NAME=TOKEN with blanks between
    #[arg(long, value_name = "LOCK", conflicts_with_all = ["shared", "permits"])]
    also: Vec<String>,

    /// Holds the lock together with others that share it
    #[arg(long, conflicts_with = "permits")]
    shared: bool,

    /// Holds permits of the lock, which has so many
    #[arg(long, value_name = "TOTAL", value_parser = clap::value_parser!(u32).range(1..))]
    permits: Option<u32>,

    /// How many permits to hold
    #[arg(long, requires = "permits", default_value_t = 1, value_name = "COUNT")]
    weight: u32,

    /// Does not wait
    #[arg(long = "try", conflicts_with = "wait")]
    no_wait: bool,

    /// Waits at most so long
    #[arg(long, value_parser = parse::duration, value_name = "DURATION")]
    wait: Option<Duration>,

    /// What others see of the owner [default: user@host and the command]
    #[arg(long, value_name = "TEXT")]
    owner: Option<String>,

    /// How long the lock stays held after this machine is gone, 5s to 10m
    #[arg(long, value_parser = parse::duration, value_name = "DURATION")]
    ttl: Option<Duration>,

    /// For how long nobody gets the lock after this machine is gone and the ttl over, at most 1m
    #[arg(long, value_parser = parse::duration, value_name = "DURATION",
          conflicts_with_all = ["shared", "permits"])]
    lock_delay: Option<Duration>,

    /// How long the command may take to end after TERM when the lock is lost
    #[arg(long, value_parser = parse::duration, value_name = "DURATION", default_value = "5s")]
    kill_after: Duration,

    /// The command
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,

    #[command(flatten)]
    pub(super) connection: Connection,
}

// === impl Lock ===

impl Lock {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client_with(SessionOptions {
            ttl: self.ttl,
            metadata: [("host".to_owned(), host())].into(),
            ..SessionOptions::default()
        })?;
        let outcome = self.run_with(&client).await;
        // Takes the place in the queue along, if there is one left.
        connection::close(&client).await;
        outcome
    }

    async fn run_with(&self, client: &Client) -> Outcome {
        let mut signals = Signals::catch()?;
        let guard = match self.acquire(client, &mut signals).await? {
            Ok(guard) => guard,
            Err(signal) => return Ok(Exit::of_signal(signal)),
        };
        let environment = [
            ("STANCHION_LOCK", self.lock.clone()),
            (FENCING_TOKEN, token(&guard).to_string()),
            ("STANCHION_FENCING_TOKENS", tokens(&guard)),
        ];
        let outcome = match Child::spawn(&self.command, environment, signals) {
            Ok(child) => {
                let what = format!("lock {}", self.lock);
                child.run_under(&what, guard.lost(), self.kill_after).await
            }
            Err(failure) => Err(failure),
        };
        // A lock that is lost is not ours to release, and the call may take its time.
        if guard.is_held()
            && let Err(error) = guard.release().await
        {
            output::note(&format!(
                "stanchion: not released, ends with its session: {error}"
            ))?;
        }
        outcome
    }

    /// Takes the lock, unless a signal comes first.
    async fn acquire(
        &self,
        client: &Client,
        signals: &mut Signals,
    ) -> Result<Result<LocksGuard, Signal>, Failure> {
        let acquiring = async {
            match self.also.is_empty() {
                true => self.acquire_one(client).await.map(LocksGuard::from),
                false => self.acquire_all(client).await,
            }
        };
        let held = match signals.unless_ending(acquiring).await {
            Ok(held) => held.map_err(Failure::from),
            Err(signal) => return Ok(Err(signal)),
        };
        held.map(Ok).map_err(|failure| match failure.reason() {
            ErrorReason::LockHeld | ErrorReason::LockDelayed if self.wait.is_some() => {
                failure.with_exit(Exit::TimedOut)
            }
            _ => failure,
        })
    }

    async fn acquire_one(&self, client: &Client) -> stanchion_client::Result<LockGuard> {
        let mut request = client.lock(&self.lock).owner(self.owner());
        request = request.on_place(child::tell_place(&format!("lock {}", self.lock)));
        if self.shared {
            request = request.shared();
        }
        if let Some(total) = self.permits {
            request = request.permits(self.weight, total);
        }
        if let Some(delay) = self.lock_delay {
            request = request.lock_delay(delay);
        }
        match (self.no_wait, self.wait) {
            (true, _) => request.try_acquire().await,
            (false, Some(wait)) => request.acquire_timeout(wait).await,
            (false, None) => request.acquire().await,
        }
    }

    async fn acquire_all(&self, client: &Client) -> stanchion_client::Result<LocksGuard> {
        let names = std::iter::once(&self.lock).chain(&self.also);
        let mut request = client.lock_all(names).owner(self.owner());
        if let Some(delay) = self.lock_delay {
            request = request.lock_delay(delay);
        }
        match (self.no_wait, self.wait) {
            (true, _) => request.try_acquire().await,
            (false, Some(wait)) => request.acquire_timeout(wait).await,
            (false, None) => request.acquire().await,
        }
    }

    fn owner(&self) -> String {
        let owner = self.owner.clone();
        owner.unwrap_or_else(|| child::owner(&self.command))
    }
}

fn token(guard: &LocksGuard) -> i64 {
    guard.locks().first().map_or(0, LockGuard::fencing_token)
}

fn tokens(guard: &LocksGuard) -> String {
    let tokens = guard.locks().iter();
    let tokens = tokens.map(|guard| format!("{}={}", guard.name(), guard.fencing_token()));
    tokens.collect::<Vec<_>>().join(" ")
}
