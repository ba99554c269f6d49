//! The etcd adapter against real servers: what the contract suite cannot see, because it needs a
//! server that dies, hangs or forgets.

mod calls;
mod leases;
mod members;
mod old;
mod upgrades;
mod watches;

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use stanchion::{
    clock::SystemClock,
    store::{
        Compare, Error, Event, KeyRange, Operation, RangeRequest, Revision, Store as _, Txn, Watch,
        WatchItem,
        etcd::{EtcdStore, Settings},
    },
};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

async fn connect<E: Into<String>>(endpoints: impl IntoIterator<Item = E>) -> EtcdStore {
    connect_with(Settings::new(endpoints)).await
}

async fn connect_with(settings: Settings) -> EtcdStore {
    EtcdStore::connect(settings, Arc::new(SystemClock))
        .await
        .unwrap()
}

/// Writes a key, again as long as the store cannot, and returns the revision. Writing twice is
/// avoided the way the domain does it: by comparing.
async fn put(store: &EtcdStore, key: &str, value: &str) -> Revision {
    let key = Bytes::copy_from_slice(key.as_bytes());
    let value = Bytes::copy_from_slice(value.as_bytes());
    let started = Instant::now();
    let found = loop {
        match store
            .range(RangeRequest::new(KeyRange::key(key.clone())))
            .await
        {
            Ok(found) => break found,
            Err(error) => assert!(
                error.is_transient() && started.elapsed() < PATIENCE,
                "{error:?}"
            ),
        }
    };
    let seen = found.kvs.first().map_or(0, |kv| kv.mod_revision);
    let txn = Txn::new()
        .when(Compare::mod_revision(key.clone(), seen))
        .then(Operation::put(key.clone(), value))
        .otherwise(Operation::get(key));
    loop {
        match store.txn(txn.clone()).await {
            Ok(done) if done.succeeded => return done.revision,
            // An attempt of before had got through.
            Ok(done) => return done.found(0).unwrap().mod_revision,
            Err(error) => assert!(
                error.is_transient() && started.elapsed() < PATIENCE,
                "{error:?}"
            ),
        }
    }
}

async fn next(watch: &mut Watch) -> Result<WatchItem, Error> {
    let item = timeout(PATIENCE, watch.items.recv()).await;
    item.expect("the watch is silent").expect("the watch ended")
}

/// The next change, whatever else is said before it.
async fn next_change(watch: &mut Watch) -> (Revision, Vec<String>) {
    loop {
        if let WatchItem::Changes { revision, events } = next(watch).await.unwrap() {
            let keys: BTreeSet<_> = events.iter().map(Event::key).collect();
            assert_eq!(keys.len(), events.len());
            let text = |key: &Bytes| String::from_utf8(key.to_vec()).unwrap();
            return (revision, events.iter().map(|e| text(e.key())).collect());
        }
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What a call answers, made again as long as the store cannot.
async fn until_answer<T, F>(what: &str, call: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, Error>>,
{
    let started = Instant::now();
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(error) => assert!(
                error.is_transient() && started.elapsed() < PATIENCE,
                "{what}: {error:?}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An address where nobody listens.
fn refusing() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}
