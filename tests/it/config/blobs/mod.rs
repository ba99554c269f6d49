//! Contents of up to a mebibyte, which are kept apart from their versions.

mod faults;
mod many;
mod releases;
mod sweep;
mod unreadable;

use bytes::Bytes;
use stanchion::{
    domain::{
        config::BlobId,
        keyspace::ConfigPath,
        names::{ConfigKey, Namespace},
        records,
    },
    store::{KeyRange, RangeRequest},
};
use stanchion_client::proto::{Consistency, GetConfigVersionRequest, PutConfigRequest};
use tonic::{Code, Status};

use super::{
    follower::{Follower, prefix},
    get, put, rollback,
};
use crate::support::server::{Backend, Server, assert_invalid, assert_status, on_both_stores};

/// The largest content there may be.
const MIB: usize = 1024 * 1024;

on_both_stores! {
    a_mebibyte_is_read_watched_listed_and_rolled_back_to_on_every_replica,
    a_mebibyte_and_a_byte_is_too_much,
    a_small_content_stays_with_its_version,
    what_would_be_written_is_told_without_writing_a_blob,
}

/// A text that differs from those of other numbers, and within itself.
fn content(number: u64, size: usize) -> Bytes {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes().map(|byte| b'0' + byte % 64));
    }
    bytes.truncate(size);
    bytes.into()
}

fn path(key: &str) -> ConfigPath {
    ConfigPath {
        namespace: Namespace::parse("default").unwrap(),
        key: ConfigKey::parse(key).unwrap(),
    }
}

fn version_of(key: &str, version: i64) -> GetConfigVersionRequest {
    GetConfigVersionRequest {
        key: key.into(),
        version,
        ..GetConfigVersionRequest::default()
    }
}

impl Server {
    async fn try_version(&self, key: &str, version: i64) -> Result<Bytes, Status> {
        let request = version_of(key, version);
        let found = self.configs().get_config_version(request).await?;
        let version = found.into_inner().version.unwrap();
        assert_eq!(version.content.len() as i64, version.size_bytes);
        Ok(version.content)
    }

    async fn version(&self, key: &str, version: i64) -> Bytes {
        self.try_version(key, version).await.unwrap()
    }

    /// The blobs that there are.
    async fn blobs(&self) -> Vec<BlobId> {
        let keys = &self.app().core.keys;
        let blobs = self.keys_in(keys.blobs()).await;
        blobs
            .iter()
            .map(|key| keys.parse_blob(key).unwrap())
            .collect()
    }

    async fn keys_in(&self, keys: KeyRange) -> Vec<Bytes> {
        let request = RangeRequest::new(keys).keys_only();
        let found = self.app().core.store.range(request).await.unwrap();
        found.kvs.into_iter().map(|kv| kv.key).collect()
    }
}

async fn a_mebibyte_is_read_watched_listed_and_rolled_back_to_on_every_replica(backend: Backend) {
    let [one, two, three] = [
        backend.server().await,
        backend.server().await,
        backend.server().await,
    ];
    let mut follower = Follower::start(&three, prefix("big")).await;
    let (first, third) = (content(1, MIB), content(3, MIB - 7));
    let written = one.put("big", &first).await;
    assert_eq!((written.version, written.size_bytes), (1, MIB as i64));
    two.current().await;
    assert_eq!(two.put("big", "small").await.version, 2);
    three.current().await;
    assert_eq!(three.put("big", &third).await.version, 3);
    one.current().await;
    let back = one.try_rollback(rollback("big", 1)).await.unwrap();
    assert_eq!(back.config.unwrap().version, 4);
    let last = |follower: &Follower| {
        let config = follower.configs.get("big");
        config.is_some_and(|config| config.version == 4)
    };
    follower.until(last).await;
    assert!(follower.resets.is_empty());
    assert_eq!(follower.configs["big"].content, first);
    for server in [&one, &two, &three] {
        server.current().await;
        let now = server.try_get(get("big")).await.unwrap();
        assert_eq!((now.version, &now.content), (4, &first));
        let said = [&first, &Bytes::from_static(b"small"), &third, &first];
        for (number, said) in (1..).zip(said) {
            assert_eq!(server.version("big", number).await, said);
        }
        let mut request = version_of("big", 3);
        request.consistency = Consistency::Linearizable.into();
        let found = server.configs().get_config_version(request).await.unwrap();
        assert_eq!(found.into_inner().version.unwrap().content, third);
        let listed = server.versions("big").await;
        let listed: Vec<_> = listed
            .iter()
            .map(|version| (version.version, version.size_bytes, version.content.len()))
            .collect();
        let (whole, less) = (MIB as i64, MIB as i64 - 7);
        assert_eq!(
            listed,
            [(4, whole, 0), (3, less, 0), (2, 5, 0), (1, whole, 0)]
        );
    }
    // What was rolled back to was there already.
    assert_eq!(one.blobs().await.len(), 2);
    for server in [one, two, three] {
        server.stop().await;
    }
}

async fn a_mebibyte_and_a_byte_is_too_much(backend: Backend) {
    let server = backend.server().await;
    let refused = server.try_put(put("a", vec![0; MIB + 1])).await;
    let refused = refused.unwrap_err();
    assert_invalid(&refused, "content");
    assert!(refused.message().contains("1048576"), "{refused:?}");
    // More than that does not get in at all.
    let refused = server.try_put(put("a", vec![0; 2 * MIB])).await;
    let refused = refused.unwrap_err();
    assert_status(&refused, Code::ResourceExhausted, "REQUEST_TOO_LARGE");
    assert!(server.versions("a").await.is_empty());
    assert!(server.blobs().await.is_empty());
    server.stop().await;
}

async fn a_small_content_stays_with_its_version(backend: Backend) {
    let server = backend.server().await;
    let (small, large) = (content(1, 64 * 1024), content(2, 64 * 1024 + 1));
    server.put("a", &small).await;
    assert!(server.blobs().await.is_empty());
    server.put("a", &large).await;
    assert_eq!(server.blobs().await, [BlobId::of(&large)]);
    assert_eq!(server.version("a", 1).await, small);
    assert_eq!(server.version("a", 2).await, large);
    // A replica that only knows the first format would read the second version as an empty one.
    let core = &server.app().core;
    for (version, format) in [(1, 1), (2, 2)] {
        let key = core.keys.config_version(&path("a"), version);
        let found = core.store.range(RangeRequest::new(KeyRange::key(key)));
        let found = found.await.unwrap();
        // The format is the first field.
        assert_eq!(found.kvs[0].value[..2], [8, format]);
        assert!(records::NEWEST >= u32::from(format));
    }
    server.stop().await;
}

async fn what_would_be_written_is_told_without_writing_a_blob(backend: Backend) {
    let server = backend.server().await;
    let request = PutConfigRequest {
        validate_only: true,
        ..put("a", content(1, MIB))
    };
    let told = server.try_put(request).await.unwrap();
    assert!(!told.unchanged);
    assert_eq!(told.config.unwrap().size_bytes, MIB as i64);
    assert!(server.blobs().await.is_empty());
    assert!(server.versions("a").await.is_empty());
    // What is there already is not written again either.
    server.put("a", content(1, MIB)).await;
    let again = server.try_put(put("a", content(1, MIB))).await.unwrap();
    assert!(again.unchanged);
    server.stop().await;
}
