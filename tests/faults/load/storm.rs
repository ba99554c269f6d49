//! Thousands of watches of one key, all of which must see every version of it.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use stanchion_client::{
    Client, Options,
    watch::{Change, UpdateKind},
};
use tokio::{task::JoinSet, time::sleep};

/// What they watch: one key below it.
const PREFIX: &str = "storm/";
/// Its key.
const KEY: &str = "storm/key";
/// How often it is written: rarely, because thousands hear of it.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often it is looked how far they are.
const LOOK: Duration = Duration::from_millis(5);
/// How long they may take to begin.
const BEGIN: Duration = Duration::from_secs(60);

/// Watches until it is dropped.
pub struct Watchers {
    /// What each saw last; zero before its snapshot.
    last: Arc<Vec<AtomicI64>>,
    /// The version that was written last.
    written: Arc<AtomicI64>,
    wrong: Arc<Mutex<Vec<String>>>,
    tasks: JoinSet<()>,
}

// === impl Watchers ===

impl Watchers {
    /// Starts so many watches at `front`, spread over so many connections, and a writer that goes
    /// to the replica itself. Waits until all watches stand.
    pub async fn start(
        front: SocketAddr,
        replica: SocketAddr,
        watches: usize,
        connections: usize,
    ) -> Self {
        let connect = |to: SocketAddr| Client::connect([to.to_string()], Options::default());
        let last: Vec<_> = (0..watches).map(|_| AtomicI64::new(0)).collect();
        let mut watchers = Self {
            last: Arc::new(last),
            written: Arc::default(),
            wrong: Arc::default(),
            tasks: JoinSet::new(),
        };
        watchers.write(connect(replica).unwrap()).await;
        for connection in 0..connections {
            let client = connect(front).unwrap();
            for index in (connection..watches).step_by(connections) {
                watchers.watch(client.clone(), index);
            }
        }
        watchers.reach(1, BEGIN).await;
        watchers
    }

    /// The version that was written last.
    pub fn written(&self) -> i64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Waits until every watch has seen a version; says how long that took.
    pub async fn reach(&self, version: i64, within: Duration) -> Duration {
        let begun = Instant::now();
        loop {
            let behind = self
                .last
                .iter()
                .filter(|last| last.load(Ordering::Relaxed) < version);
            let behind = behind.count();
            if behind == 0 {
                return begun.elapsed();
            }
            assert!(begun.elapsed() < within, "{behind} watches are behind");
            sleep(LOOK).await;
        }
    }

    /// Asserts that none missed, repeated or merged anything, or began anew.
    pub fn are_right(&self) {
        let wrong = self.wrong.lock().unwrap();
        let some = &wrong[..wrong.len().min(5)];
        assert!(
            wrong.is_empty(),
            "{} watches are wrong: {some:?}",
            wrong.len()
        );
    }

    async fn write(&mut self, client: Client) {
        let written = self.written.clone();
        let write = async move || {
            let put = client.config().put(KEY, format!("{:?}", Instant::now()));
            let version = put.send().await.unwrap().config.unwrap().version;
            written.store(version, Ordering::Relaxed);
        };
        write().await;
        self.tasks.spawn(async move {
            loop {
                sleep(INTERVAL).await;
                write().await;
            }
        });
    }

    fn watch(&mut self, client: Client, index: usize) {
        let (all, wrong) = (self.last.clone(), self.wrong.clone());
        self.tasks.spawn(async move {
            let last = &all[index];
            let mut watch = client.config().changes(PREFIX);
            loop {
                let before = last.load(Ordering::Relaxed);
                let update = watch.next().await.unwrap();
                let versions = match update.kind {
                    UpdateKind::Snapshot { items, .. } if before == 0 => {
                        last.store(items[0].version, Ordering::Relaxed);
                        continue;
                    }
                    UpdateKind::Delta {
                        changes,
                        conflated: false,
                    } => changes,
                    UpdateKind::Current => continue,
                    other => {
                        wrong
                            .lock()
                            .unwrap()
                            .push(format!("{other:?} after {before}"));
                        continue;
                    }
                };
                for change in versions {
                    let before = last.load(Ordering::Relaxed);
                    match change {
                        Change::Modified(config) if config.version == before + 1 => {
                            last.store(config.version, Ordering::Relaxed);
                        }
                        other => wrong
                            .lock()
                            .unwrap()
                            .push(format!("{other:?} after {before}")),
                    }
                }
            }
        });
    }
}
