//! Clients that may use any replica, as programs do: through the Rust client, with its defaults.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use stanchion_client::Client;
use tokio::{sync::Mutex as AsyncMutex, time::sleep};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// What they write and read.
pub const PREFIX: &str = "calls/";
/// Over how many keys a caller goes.
const KEYS: usize = 4;
/// How long a caller waits between two calls.
const PAUSE: Duration = Duration::from_millis(20);

/// Calls until it is stopped or dropped.
pub struct Caller {
    log: Arc<Mutex<Calls>>,
    stop: CancellationToken,
    task: AsyncMutex<Option<AbortOnDropHandle<()>>>,
}

/// What came of the calls.
#[derive(Debug, Clone, Default)]
pub struct Calls {
    pub made: usize,
    pub slowest: Duration,
    /// The calls that failed: what was called, how long it took, and why it failed.
    pub failures: Vec<(&'static str, Duration, String)>,
    /// The version of each key as its last write was answered.
    pub versions: [i64; KEYS],
    /// Writes that made another version than the next: one was carried out twice.
    pub jumps: Vec<String>,
}

// === impl Caller ===

impl Caller {
    /// Starts a caller that writes keys of its own.
    pub fn start(client: Client, number: usize) -> Self {
        let log = Arc::new(Mutex::new(Calls::default()));
        let stop = CancellationToken::new();
        let (calls, stopped) = (log.clone(), stop.clone());
        let task = tokio::spawn(async move {
            for round in 0_usize.. {
                if stopped.is_cancelled() {
                    return;
                }
                go_round(&client, &calls, number, round).await;
            }
        });
        Self {
            log,
            stop,
            task: AsyncMutex::new(Some(AbortOnDropHandle::new(task))),
        }
    }

    /// The key of this number.
    pub fn key(caller: usize, number: usize) -> String {
        format!("{PREFIX}{caller}/{number}")
    }

    /// Lets it end the call that is under way, and says what came of all.
    pub async fn stop(&self) -> Calls {
        self.stop.cancel();
        if let Some(task) = self.task.lock().await.take() {
            task.await.unwrap();
        }
        self.log.lock().unwrap().clone()
    }
}

async fn go_round(client: &Client, calls: &Mutex<Calls>, caller: usize, round: usize) {
    let configs = client.config();
    let index = round % KEYS;
    let key = Caller::key(caller, index);

    let begun = Instant::now();
    let written = configs.put(&key, format!("{caller}#{round}")).send().await;
    let written = note(calls, "put", begun, written);
    if let Some(written) = written.and_then(|answer| answer.config) {
        let mut calls = calls.lock().unwrap();
        let before = std::mem::replace(&mut calls.versions[index], written.version);
        if written.version != before + 1 && calls.failures.is_empty() {
            let jump = format!("{key} went from {before} to {}", written.version);
            calls.jumps.push(jump);
        }
    }
    sleep(PAUSE).await;

    let begun = Instant::now();
    let read = configs.get(super::reads::KEY).await;
    note(calls, "get", begun, read);
    sleep(PAUSE).await;

    let begun = Instant::now();
    let list = configs.list(PREFIX).await;
    note(calls, "list", begun, list);
    sleep(PAUSE).await;
}

fn note<T>(
    calls: &Mutex<Calls>,
    what: &'static str,
    begun: Instant,
    outcome: stanchion_client::Result<T>,
) -> Option<T> {
    let took = begun.elapsed();
    let mut calls = calls.lock().unwrap();
    calls.made += 1;
    calls.slowest = calls.slowest.max(took);
    match outcome {
        Ok(answer) => Some(answer),
        Err(error) => {
            let why = format!("{:?} {:?} {error}", error.code(), error.reason());
            calls.failures.push((what, took, why));
            None
        }
    }
}
