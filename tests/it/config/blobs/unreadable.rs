//! Contents that are not where they would be written today, or not there any more, and replicas that
//! could not read them.

use prost::Message;
use sha2::{Digest, Sha256};
use stanchion::{
    domain::{names::ReplicaId, records, replica::Replica},
    proto::store as stored,
    store::{KeyRange, Operation, RangeRequest, Txn},
};
use tonic::Code;

use super::{MIB, content, path};
use crate::{
    config::{get, put, rollback},
    support::server::{Backend, assert_status, on_both_stores},
};

on_both_stores! {
    a_large_content_within_its_version_is_read,
    a_content_that_is_lost_is_said_to_be,
    a_content_that_is_damaged_is_not_answered,
    a_replica_that_would_misread_a_large_content_keeps_it_from_being_written,
}

/// As they were written before there were blobs.
async fn a_large_content_within_its_version_is_read(backend: Backend) {
    let server = backend.server().await;
    server.put("a", "small").await;
    server.put("a", "other").await;
    let core = &server.app().core;
    let key = core.keys.config_version(&path("a"), 1);
    let found = RangeRequest::new(KeyRange::key(key.clone()));
    let found = core.store.range(found).await.unwrap();
    let mut record = stored::ConfigVersion::decode(found.kvs[0].value.clone()).unwrap();
    let large = content(1, MIB / 2);
    record.sha256 = Sha256::digest(&large).to_vec().into();
    record.content = large.clone();
    let written = Operation::put(key, record.encode_to_vec());
    server.write(Txn::new().then(written)).await;
    assert_eq!(server.version("a", 1).await, large);
    assert_eq!(server.versions("a").await[1].size_bytes, large.len() as i64);
    let back = server.try_rollback(rollback("a", 1)).await.unwrap();
    assert_eq!(back.config.unwrap().version, 3);
    assert_eq!(server.version("a", 3).await, large);
    assert_eq!(server.blobs().await.len(), 1);
    server.stop().await;
}

async fn a_content_that_is_lost_is_said_to_be(backend: Backend) {
    let server = backend.server().await;
    server.put("a", content(1, MIB)).await;
    server.put("a", content(2, MIB)).await;
    server.put("a", "small").await;
    let blob = super::BlobId::of(&content(1, MIB));
    let keys = &server.app().core.keys;
    let piece = Txn::new().then(Operation::delete(keys.blob_piece(&blob, 7)));
    server.write(piece).await;
    let lost = server.try_version("a", 1).await.unwrap_err();
    assert_status(&lost, Code::DataLoss, "CONTENT_LOST");
    assert!(lost.message().contains("default/a version 1"), "{lost:?}");
    let lost = server.try_rollback(rollback("a", 1)).await.unwrap_err();
    assert_status(&lost, Code::DataLoss, "CONTENT_LOST");
    // Everything else is as it was.
    assert_eq!(server.version_numbers("a").await, [3, 2, 1]);
    assert_eq!(server.version("a", 2).await, content(2, MIB));
    assert_eq!(server.try_get(get("a")).await.unwrap().content, "small");
    // A version that is gone is not lost.
    let version = keys.config_version(&path("a"), 1);
    server
        .write(Txn::new().then(Operation::delete(version)))
        .await;
    let gone = server.try_version("a", 1).await.unwrap_err();
    assert_status(&gone, Code::NotFound, "CONFIG_VERSION_NOT_FOUND");
    server.stop().await;
}

async fn a_content_that_is_damaged_is_not_answered(backend: Backend) {
    let server = backend.server().await;
    server.put("a", content(1, MIB)).await;
    let blob = super::BlobId::of(&content(1, MIB));
    let key = server.app().core.keys.blob_piece(&blob, 3);
    let other = content(2, 64 * 1024);
    server
        .write(Txn::new().then(Operation::put(key, other)))
        .await;
    let damaged = server.try_version("a", 1).await.unwrap_err();
    assert_status(&damaged, Code::DataLoss, "CONTENT_LOST");
    assert_eq!(
        server.try_get(get("a")).await.unwrap().content,
        content(1, MIB)
    );
    server.stop().await;
}

async fn a_replica_that_would_misread_a_large_content_keeps_it_from_being_written(
    backend: Backend,
) {
    let server = backend.server().await;
    let core = &server.app().core;
    let old = Replica {
        id: ReplicaId::parse("0123456789abcdef").unwrap(),
        supported_format: 1,
        address: "127.0.0.1:1".into(),
        version: "0.0.9".into(),
        start_time: core.clock.system_time(),
    };
    let key = core.keys.replica(&old.id);
    let presence = Operation::put(key.clone(), records::encode_replica(&old));
    server.write(Txn::new().then(presence)).await;
    let refused = server.try_put(put("a", content(1, MIB))).await.unwrap_err();
    assert_status(&refused, Code::FailedPrecondition, "REPLICA_TOO_OLD");
    assert!(refused.message().contains("127.0.0.1:1"), "{refused:?}");
    assert!(server.blobs().await.is_empty());
    // What fits into the transaction twice is in the version itself, as it was before.
    assert_eq!(server.put("a", content(1, 512 * 1024)).await.version, 1);
    assert!(server.blobs().await.is_empty());
    server.write(Txn::new().then(Operation::delete(key))).await;
    assert_eq!(server.put("a", content(1, MIB)).await.version, 2);
    server.stop().await;
}
