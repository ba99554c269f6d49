//! Watches that may move from replica to replica, and what they missed.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use stanchion_client::{
    Client, Discovery,
    config::Values,
    proto::Config,
    watch::{Change, UpdateKind},
};
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::{calls::PREFIX, sessions::SERVICE};

/// How often it is looked what a discovery shows.
const LOOK: Duration = Duration::from_millis(10);

/// Follows what callers write, and who is registered, until it is dropped.
pub struct Follower {
    client: Client,
    /// A copy of the configs.
    copy: Values,
    seen: Arc<Mutex<Seen>>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

/// What a follower saw.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The last version of each key.
    pub versions: HashMap<String, i64>,
    pub changes: usize,
    /// How often changes came merged: of versions that were skipped it was said so.
    pub merged: usize,
    /// What a watch must not do: skip a version in silence, repeat one, begin anew.
    pub wrong: Vec<String>,
    /// Moments at which not all programs were to be seen.
    pub absent: Vec<String>,
}

// === impl Follower ===

impl Follower {
    /// Starts to follow, and waits until it is current. `programs` are registered.
    pub async fn start(client: Client, programs: usize) -> Self {
        let (copy, discovery) = (
            client.config().watch_prefix(PREFIX),
            client.discover(SERVICE),
        );
        copy.ready().await.unwrap();
        discovery.ready().await.unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let raw = tokio::spawn(follow(client.clone(), seen.clone()));
        let looking = tokio::spawn(look(discovery, programs, seen.clone()));
        Self {
            client,
            copy,
            seen,
            _tasks: [raw, looking].map(AbortOnDropHandle::new),
        }
    }

    /// What it saw so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// Waits until it shows what the callers wrote last, one by one and as a copy.
    pub async fn catches_up(&self, versions: &HashMap<String, i64>, within: Duration) {
        let begun = Instant::now();
        loop {
            let seen = self.seen().versions;
            let copy = self.copy.get_all();
            let shown = |key: &str| copy.get(key).map(|config| config.version);
            let current = versions.iter().all(|(key, version)| {
                seen.get(key) == Some(version) && shown(key) == Some(*version)
            });
            if current {
                break;
            }
            assert!(
                begun.elapsed() < within,
                "a watch does not catch up with {versions:?}: {seen:?}, the copy {copy:?}"
            );
            sleep(LOOK).await;
        }
        // The copy is whole: nothing in it that is gone, nothing missing.
        let listed = self.client.config().list(PREFIX).await.unwrap();
        let copy = self.copy.get_all();
        assert!(
            listed
                .iter()
                .map(|config| &config.content)
                .eq(copy.values().map(|c| &c.content)),
            "a copy differs from what a list shows: {copy:?}, {listed:?}"
        );
    }
}

async fn follow(client: Client, seen: Arc<Mutex<Seen>>) {
    let mut watch = client.config().changes(PREFIX);
    let mut begun = false;
    loop {
        let update = watch.next().await.unwrap();
        let mut seen = seen.lock().unwrap();
        match update.kind {
            UpdateKind::Snapshot { items, reset } => {
                if std::mem::replace(&mut begun, true) {
                    seen.wrong.push(format!("began anew: {reset:?}"));
                }
                seen.versions = items.into_iter().map(|c| (c.key, c.version)).collect();
            }
            UpdateKind::Delta { changes, conflated } => {
                seen.merged += usize::from(conflated);
                for change in changes {
                    seen.take(change, conflated);
                }
            }
            UpdateKind::Current => {}
        }
    }
}

async fn look(discovery: Discovery, programs: usize, seen: Arc<Mutex<Seen>>) {
    let mut whole = true;
    loop {
        let shown = discovery.instances().len();
        if whole && shown < programs {
            let what = format!("{shown} of {programs} programs at {}", discovery.revision());
            seen.lock().unwrap().absent.push(what);
        }
        whole = shown >= programs;
        sleep(LOOK).await;
    }
}

// === impl Seen ===

impl Seen {
    fn take(&mut self, change: Change<Config>, merged: bool) {
        self.changes += 1;
        match change {
            Change::Added(config) | Change::Modified(config) => {
                let last = self.versions.insert(config.key.clone(), config.version);
                let last = last.unwrap_or_default();
                let skips = config.version > last + 1 && !merged;
                if skips || config.version <= last {
                    let what = format!("{} from {last} to {}", config.key, config.version);
                    self.wrong.push(what);
                }
            }
            Change::Deleted(config, cause) => {
                self.wrong
                    .push(format!("{} deleted: {cause:?}", config.key));
            }
        }
    }
}
