//! Clients that take turns under a lock and write only while they hold it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use stanchion_client::{ChangeOptions, Client, Error, proto::ErrorReason};
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

/// The lock they share.
pub const LOCK: &str = "load-lock";
/// The config that only its holder writes.
const KEY: &str = "load/locked";
/// How often a holder writes before it lets go.
const WRITES: usize = 3;
const PAUSE: Duration = Duration::from_millis(50);

/// Takes turns until it is dropped.
pub struct Locker {
    log: Arc<Mutex<Turns>>,
    _task: AbortOnDropHandle<()>,
}

/// What the turns of a client came to.
#[derive(Debug, Clone, Default)]
pub struct Turns {
    /// The tokens, in the order of the turns.
    pub tokens: Vec<i64>,
    /// The version that each acknowledged write made, with the token of its writer.
    pub writes: Vec<(i64, i64)>,
    /// Calls that failed. That somebody else held the lock for too long is an answer.
    pub failures: Vec<String>,
}

// === impl Locker ===

impl Locker {
    pub fn start(client: Client) -> Self {
        let log = Arc::new(Mutex::new(Turns::default()));
        let turns = log.clone();
        let task = tokio::spawn(async move {
            loop {
                // While the store is away there is nothing to do but to try again.
                if let Err(error) = turn(&client, &turns).await {
                    note(&turns, &error);
                }
                sleep(PAUSE).await;
            }
        });
        Self {
            log,
            _task: AbortOnDropHandle::new(task),
        }
    }

    pub fn turns(&self) -> Turns {
        self.log.lock().unwrap().clone()
    }
}

async fn turn(client: &Client, turns: &Mutex<Turns>) -> stanchion_client::Result<()> {
    let lock = client.lock(LOCK).acquire_timeout(Duration::from_secs(5));
    let lock = lock.await?;
    let token = lock.fencing_token();
    turns.lock().unwrap().tokens.push(token);
    for number in 0..WRITES {
        let options = ChangeOptions {
            guard: Some(lock.guard()),
            ..ChangeOptions::default()
        };
        let put = client.config().put(KEY, format!("{token}.{number}"));
        // A write that fails is one that this holder may not make, or that nobody knows of.
        match put.options(options).send().await {
            Ok(answer) => {
                let version = answer.config.unwrap().version;
                turns.lock().unwrap().writes.push((version, token));
            }
            Err(error) => note(turns, &error),
        }
        sleep(PAUSE).await;
    }
    lock.release().await?;
    Ok(())
}

fn note(turns: &Mutex<Turns>, error: &Error) {
    if error.reason() != ErrorReason::LockHeld {
        let what = format!("{:?} {:?} {error}", error.code(), error.reason());
        turns.lock().unwrap().failures.push(what);
    }
}

/// Asserts that the holders followed each other: every token larger than the one before, and, where
/// versions tell the order of writes, no write of one between those of another.
pub fn judge(all: &[Turns], versions_grow: bool) -> usize {
    for turns in all {
        assert!(!turns.tokens.is_empty(), "a client never held the lock");
        assert!(
            turns.tokens.is_sorted_by(|a, b| a < b),
            "a token that is not larger than the one before: {:?}",
            turns.tokens
        );
    }
    let mut writes: Vec<_> = all.iter().flat_map(|turns| turns.writes.clone()).collect();
    writes.sort_unstable();
    assert!(
        !versions_grow || writes.is_sorted_by(|(v1, t1), (v2, t2)| v1 < v2 && t1 <= t2),
        "two held the lock at once: {writes:?}"
    );
    all.iter().map(|turns| turns.tokens.len()).sum()
}
