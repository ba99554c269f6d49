//! The way to etcd when it is secured: certificates, users, and what becomes of clients when either
//! changes.

mod tls;
mod tokens;
mod users;

use std::{sync::Arc, time::Duration};

use stanchion::{
    app::{StartError, open_store},
    clock::SystemClock,
    settings::{Settings, StoreChoice},
    store::Store,
};
use tokio::{task::JoinHandle, time::timeout};

use crate::support::{
    etcd::Etcd,
    server::{Backend, Server, eventually},
    store::PATIENCE,
    traffic::put,
};

/// Starts a replica that reaches etcd as `access` says.
async fn serve(etcd: &Etcd, access: impl FnOnce(&mut Settings)) -> Server {
    let (backend, settings) = settings(etcd, access);
    let clock = Arc::new(SystemClock);
    let store = open_store(&settings, clock.clone()).await.unwrap();
    backend.server_on(store, settings, clock).await
}

/// Reaches etcd as `access` says.
async fn open(
    etcd: &Etcd,
    access: impl FnOnce(&mut Settings),
) -> Result<Arc<dyn Store>, StartError> {
    let (_, settings) = settings(etcd, access);
    open_store(&settings, Arc::new(SystemClock)).await
}

fn settings(etcd: &Etcd, access: impl FnOnce(&mut Settings)) -> (Backend, Settings) {
    let backend = Backend::on(etcd.endpoints(), ());
    let mut settings = backend.settings();
    settings.domain.commit_timeout = Duration::from_millis(300);
    settings.rpc.store_silence = Duration::from_secs(1);
    access(&mut settings);
    settings.check().unwrap();
    (backend, settings)
}

/// Writes as soon as it is possible; returns the revision.
async fn put_again(server: &Server) -> i64 {
    eventually("writes to succeed again", || async {
        put(server, "again").await.ok()
    })
    .await
}

/// Writes `last`, up to which somebody watches, and asserts that they saw whatever was written.
async fn saw_all(watching: JoinHandle<Vec<i64>>, server: &Server, mut written: Vec<i64>) {
    written.push(put(server, "last").await.unwrap());
    let seen = timeout(PATIENCE, watching).await.unwrap().unwrap();
    for revision in written {
        assert!(seen.contains(&revision), "{revision} is not in {seen:?}");
    }
}

fn over_tls(settings: &mut Settings) {
    if let StoreChoice::Etcd { tls, .. } = &mut settings.store {
        *tls = true;
    }
}
