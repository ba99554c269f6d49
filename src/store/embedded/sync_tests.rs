//! Syncs are seen, not assumed: a disk that keeps only what was synced, that can hold a sync back
//! and that can fail.

use std::{
    io,
    path::Path,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use redb::{Builder, StorageBackend};

use super::{Embedded, Location, Settings, journal::Journal};
use crate::{
    clock::SystemClock,
    store::{Error, KeyRange, Operation, Outcome, RangeRequest, Store as _, Txn, TxnResponse},
};

/// A disk whose cable can be pulled.
#[derive(Debug, Clone, Default)]
struct Disk(Arc<Parts>);

#[derive(Debug, Default)]
struct Parts {
    /// What the store wrote.
    written: Mutex<Vec<u8>>,
    /// What survives a power cut.
    synced: Mutex<Vec<u8>>,
    syncs: AtomicU64,
    failing: AtomicBool,
    gate: Mutex<Gate>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct Gate {
    shut: bool,
    waiting: bool,
}

// === impl Disk ===

impl Disk {
    async fn open(&self) -> Embedded {
        self.open_with(Settings::default()).await
    }

    async fn open_with(&self, settings: Settings) -> Embedded {
        let database = Builder::new().create_with_backend(self.clone()).unwrap();
        let path = Path::new("test");
        let opened = Journal::load(database, path).unwrap();
        let location = Location::File(path.into());
        Embedded::start(location, Some(opened), settings, Arc::new(SystemClock)).unwrap()
    }

    /// The disk as it comes up after a power cut.
    fn after_power_cut(&self) -> Self {
        let synced = self.0.synced.lock().unwrap().clone();
        let disk = Self::default();
        disk.0.written.lock().unwrap().clone_from(&synced);
        *disk.0.synced.lock().unwrap() = synced;
        disk
    }

    fn syncs(&self) -> u64 {
        self.0.syncs.load(Ordering::SeqCst)
    }

    fn set_gate(&self, shut: bool) {
        self.0.gate.lock().unwrap().shut = shut;
        self.0.moved.notify_all();
    }

    /// Waits until a sync stands at the gate.
    fn wait_for_a_sync(&self) {
        let gate = self.0.gate.lock().unwrap();
        let patience = Duration::from_secs(30);
        let moved = &self.0.moved;
        let waited = moved.wait_timeout_while(gate, patience, |gate| !gate.waiting);
        assert!(!waited.unwrap().1.timed_out(), "nothing is synced");
    }

    fn fail(&self) {
        self.0.failing.store(true, Ordering::SeqCst);
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.written.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap();
        out.copy_from_slice(&self.0.written.lock().unwrap()[start..start + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).unwrap();
        self.0.written.lock().unwrap().resize(len, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut gate = self.0.gate.lock().unwrap();
        gate.waiting = true;
        self.0.moved.notify_all();
        let mut gate = self.0.moved.wait_while(gate, |gate| gate.shut).unwrap();
        gate.waiting = false;
        if self.0.failing.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk is gone"));
        }
        let written = self.0.written.lock().unwrap();
        self.0.synced.lock().unwrap().clone_from(&written);
        self.0.syncs.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap();
        self.0.written.lock().unwrap()[start..start + data.len()].copy_from_slice(data);
        Ok(())
    }
}

async fn put(store: &Embedded, key: impl Into<Bytes>) -> Result<TxnResponse, Error> {
    let put = Operation::put(key, vec![b'x'; 100]);
    store.txn(Txn::new().then(put)).await
}

async fn count(store: &Embedded) -> usize {
    let request = RangeRequest::new(KeyRange::prefix("k")).count_only();
    store.range(request).await.unwrap().count
}

#[tokio::test]
async fn every_acknowledged_write_survives_a_power_cut() {
    let disk = Disk::default();
    let store = disk.open().await;
    for index in 0..50 {
        let before = disk.syncs();
        put(&store, format!("k{index}")).await.unwrap();
        assert!(disk.syncs() > before, "an answer without a sync");
        let copy = disk.after_power_cut().open().await;
        assert_eq!(count(&copy).await, index + 1);
    }
    // Leases too.
    let granted = store.grant(7, Duration::from_secs(60)).await.unwrap();
    let copy = disk.after_power_cut().open().await;
    assert_eq!(copy.keep_alive(7).await.unwrap().ttl, granted);
    store.revoke(7).await.unwrap();
    let copy = disk.after_power_cut().open().await;
    assert_eq!(copy.keep_alive(7).await.unwrap_err(), Error::LeaseNotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_answered_or_shown_before_its_sync() {
    let disk = Disk::default();
    let store = Arc::new(disk.open().await);
    let mut watch = store.watch("k".into(), 0).await.unwrap();
    disk.set_gate(true);
    let writes: Vec<_> = (0..10)
        .map(|index| {
            let store = store.clone();
            tokio::spawn(async move { put(&store, format!("k{index}")).await })
        })
        .collect();
    disk.wait_for_a_sync();
    // A transaction that writes nothing sees what the queue holds before it, or waits for it.
    let nothing = Txn::new()
        .then(Operation::get("k0"))
        .then(Operation::delete("none"));
    let looks = tokio::spawn({
        let store = store.clone();
        async move { store.txn(nothing).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(writes.iter().all(|write| !write.is_finished()));
    assert!(!looks.is_finished());
    assert_eq!(count(&store).await, 0);
    assert!(watch.items.try_recv().is_err());

    let before = disk.syncs();
    disk.set_gate(false);
    for write in writes {
        write.await.unwrap().unwrap();
    }
    looks.await.unwrap().unwrap();
    assert_eq!(count(&store).await, 10);
    let syncs = disk.syncs() - before;
    assert!(syncs < 10, "{syncs} syncs: what waits shares a commit");
}

#[tokio::test]
async fn a_failed_sync_acknowledges_nothing_and_ends_the_store() {
    let disk = Disk::default();
    let failures = Arc::new(Mutex::new(Vec::new()));
    let settings = Settings {
        on_failure: Arc::new({
            let failures = failures.clone();
            move |message| failures.lock().unwrap().push(message.to_owned())
        }),
        ..Settings::default()
    };
    let store = disk.open_with(settings).await;
    put(&store, "k1").await.unwrap();
    let mut watch = store.watch("k".into(), 0).await.unwrap();

    disk.fail();
    let error = put(&store, "k2").await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert!(matches!(error, Error::Unavailable { .. }));
    let error = put(&store, "k3").await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotDone);
    assert!(watch.items.recv().await.unwrap().is_err());
    let failures = failures.lock().unwrap().clone();
    assert_eq!(failures.len(), 1);
    assert!(failures[0].contains("the disk is gone"), "{failures:?}");

    let copy = disk.after_power_cut().open().await;
    assert_eq!(count(&copy).await, 1);
}

#[tokio::test]
async fn what_changes_nothing_needs_no_sync() {
    let disk = Disk::default();
    let store = disk.open().await;
    put(&store, "k").await.unwrap();
    store.grant(7, Duration::from_secs(60)).await.unwrap();
    let before = disk.syncs();
    store.keep_alive(7).await.unwrap();
    store.revoke(8).await.unwrap();
    store.compact(2).await.unwrap();
    let delete = Txn::new().then(Operation::delete("none"));
    store.txn(delete).await.unwrap();
    assert_eq!(disk.syncs(), before);
}
