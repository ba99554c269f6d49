//! What the server says of itself.

use stanchion_client::proto::{GetServerInfoRequest, StoreKind};

use crate::support::server::{Backend, on_both_stores};

on_both_stores! {
    a_server_says_what_it_and_its_store_are,
}

async fn a_server_says_what_it_and_its_store_are(backend: Backend) {
    let server = backend.server().await;
    let info = server
        .server_info()
        .get_server_info(GetServerInfoRequest {})
        .await
        .unwrap()
        .into_inner();
    let header = info.header.unwrap();
    assert_eq!(header.replica, info.replica);
    assert_eq!(header.epoch.len(), 16);
    assert_eq!(info.version, env!("CARGO_PKG_VERSION"));
    let store = info.store.unwrap();
    assert!(store.available);
    assert_ne!(store.kind(), StoreKind::Unspecified);
    assert_eq!(store.members.len(), 1);
    assert!(info.cache.unwrap().ready);
    server.stop().await;
}
