//! What the store holds, when it is not what this program would write today.

use bytes::Bytes;
use prost::Message;
use stanchion::{
    domain::{
        keyspace::ConfigPath,
        names::{ConfigKey, Namespace},
    },
    proto::store as stored,
    store::{KeyRange, Operation, RangeRequest, Txn},
};
use stanchion_client::proto::ListConfigVersionsRequest;
use tonic::Code;

use super::{delete, get, put, rollback};
use crate::support::server::{Backend, Server, assert_status, eventually, on_both_stores};

on_both_stores! {
    a_record_in_a_newer_format_is_served_and_never_rewritten,
    a_record_that_cannot_be_read_hides_itself_alone,
    pruned_versions_are_holes_in_the_history,
    versions_never_restart_while_one_is_kept,
}

async fn a_record_in_a_newer_format_is_served_and_never_rewritten(backend: Backend) {
    let server = backend.server().await;
    server.put("a", "one").await;
    let key = server.app().core.keys.config(&path("a"));
    let mut head = stored::ConfigHead::decode(server.read(&key).await).unwrap();
    head.format += 1;
    head.content = "from the future".into();
    server
        .change(Operation::put(key, head.encode_to_vec()))
        .await;
    let found = eventually("the newer record", || async {
        let config = server.try_get(get("a")).await.unwrap();
        (config.content == "from the future").then_some(config)
    });
    assert_eq!(found.await.version, 1);
    for refused in [
        server.try_put(put("a", "two")).await.map(drop),
        server.try_delete(delete("a")).await.map(drop),
        server.try_rollback(rollback("a", 1)).await.map(drop),
    ] {
        assert_status(&refused.unwrap_err(), Code::Unavailable, "NEWER_FORMAT");
    }
    assert_eq!(server.version_numbers("a").await, [1]);
    server.stop().await;
}

async fn a_record_that_cannot_be_read_hides_itself_alone(backend: Backend) {
    let server = backend.server().await;
    server.put("a", "one").await;
    server.put("b", "one").await;
    let key = server.app().core.keys.config(&path("a"));
    server.change(Operation::put(key, "no record at all")).await;
    let gone = eventually("the record to be hidden", || async {
        server.try_get(get("a")).await.err()
    });
    assert_status(&gone.await, Code::NotFound, "CONFIG_NOT_FOUND");
    let refused = server.try_put(put("a", "two")).await.unwrap_err();
    assert_status(&refused, Code::Internal, "INTERNAL");
    assert_eq!(server.put("b", "two").await.version, 2);
    server.stop().await;
}

async fn pruned_versions_are_holes_in_the_history(backend: Backend) {
    let server = backend.server().await;
    for number in 1..=200 {
        server.put("a", format!("{number}")).await;
    }
    server.prune("a", 1, 2).await;
    server.prune("a", 4, 150).await;
    server.prune("a", 152, 152).await;
    let mut request = ListConfigVersionsRequest {
        key: "a".into(),
        page_size: 20,
        ..ListConfigVersionsRequest::default()
    };
    let mut found = Vec::new();
    loop {
        let response = server.configs().list_config_versions(request.clone()).await;
        let response = response.unwrap().into_inner();
        found.extend(response.versions.iter().map(|version| version.version));
        request.page_token = response.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    let kept = (153..=200).rev().chain([151, 3]);
    assert_eq!(found, Vec::from_iter(kept));
    let pruned = server.try_rollback(rollback("a", 5)).await.unwrap_err();
    assert_status(&pruned, Code::NotFound, "CONFIG_VERSION_NOT_FOUND");
    let kept = server.try_rollback(rollback("a", 3)).await.unwrap();
    assert_eq!(kept.config.unwrap().version, 201);
    server.stop().await;
}

async fn versions_never_restart_while_one_is_kept(backend: Backend) {
    let server = backend.server().await;
    for number in 1..=6 {
        server.put("a", format!("{number}")).await;
    }
    server.try_delete(delete("a")).await.unwrap();
    server.prune("a", 1, 3).await;
    server.prune("a", 5, 7).await;
    let key = server.app().core.keys.config(&path("a"));
    server.change(Operation::delete(key)).await;
    assert_eq!(server.put("a", "again").await.version, 5);
    assert_eq!(server.version_numbers("a").await, [5, 4]);
    server.stop().await;
}

fn path(key: &str) -> ConfigPath {
    ConfigPath {
        namespace: Namespace::parse("default").unwrap(),
        key: ConfigKey::parse(key).unwrap(),
    }
}

impl Server {
    async fn read(&self, key: &Bytes) -> Bytes {
        let request = RangeRequest::new(KeyRange::key(key.clone()));
        let found = self.app().core.store.range(request).await.unwrap();
        found.kvs[0].value.clone()
    }

    async fn change(&self, step: Operation) {
        let txn = Txn::new().then(step);
        self.app().core.store.txn(txn).await.unwrap();
    }

    pub(super) async fn prune(&self, key: &str, first: i64, last: i64) {
        let keys = self
            .app()
            .core
            .keys
            .config_versions(&path(key), first, last);
        self.change(Operation::Delete(keys)).await;
    }
}
