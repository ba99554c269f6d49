//! Releases, commits and drafts of a mebibyte together.

use bytes::Bytes;
use stanchion_client::proto::{
    CommitConfigsRequest, ConfigChange, ConfigFromDraft, GetDraftRequest, ListDraftsRequest,
    PublishReleaseRequest, PutDraftRequest, RollbackReleaseRequest, config_change::Change,
    config_draft, put_draft_request,
};
use tonic::Status;

use super::{MIB, content};
use crate::{
    config::{
        self, change,
        follower::{Follower, prefix},
        get,
    },
    support::server::{Backend, Server, assert_invalid, on_both_stores},
};

on_both_stores! {
    a_release_of_a_hundred_keys_has_a_mebibyte,
    more_than_a_mebibyte_together_is_too_much,
    drafts_of_a_mebibyte_are_listed_and_published,
}

const KEYS: u64 = 100;
const EACH: usize = 10 * 1024;

fn put(key: &str, content: impl AsRef<[u8]>) -> ConfigChange {
    change(key, Change::Put(config::content(content)))
}

fn from_draft(key: &str) -> ConfigChange {
    change(key, Change::Draft(ConfigFromDraft::default()))
}

fn key(number: u64) -> String {
    format!("many/{number:02}")
}

impl Server {
    async fn release_at_once(&self, name: &str, changes: Vec<ConfigChange>) -> Result<(), Status> {
        let request = PublishReleaseRequest {
            name: name.into(),
            changes,
            request_id: format!("5c6e6d1a-0000-4000-8000-{name:0>12}"),
            ..PublishReleaseRequest::default()
        };
        self.configs().publish_release(request).await.map(drop)
    }

    async fn try_draft(&self, key: &str, content: Bytes) -> Result<(), Status> {
        let request = PutDraftRequest {
            key: key.into(),
            change: Some(put_draft_request::Change::Put(config::content(content))),
            ..PutDraftRequest::default()
        };
        self.configs().put_draft(request).await.map(drop)
    }
}

async fn a_release_of_a_hundred_keys_has_a_mebibyte(backend: Backend) {
    let server = backend.server().await;
    let other = backend.server().await;
    let mut follower = Follower::start(&other, prefix("many/")).await;
    // As many as a head remembers, and then some.
    const RELEASES: u64 = 18;
    let of = |release: u64, number: u64| content(1000 * release + number, EACH);
    for release in 1..=RELEASES {
        let changes = (0..KEYS).map(|number| put(&key(number), of(release, number)));
        let name = format!("{release}");
        let published = server.release_at_once(&name, changes.collect()).await;
        published.unwrap();
    }
    assert_eq!(server.blobs().await.len() as u64, RELEASES);
    let back = RollbackReleaseRequest {
        name: format!("{RELEASES}"),
        new_name: "back".into(),
        ..RollbackReleaseRequest::default()
    };
    other.current().await;
    let back = other.configs().rollback_release(back).await.unwrap();
    assert_eq!(back.into_inner().release.unwrap().item_count, KEYS as i32);
    // What is rolled back to was written together before.
    assert_eq!(server.blobs().await.len() as u64, RELEASES);
    server.current().await;
    for number in [0, 1, 42, 99] {
        let now = server.try_get(get(&key(number))).await.unwrap();
        assert_eq!(now.version, RELEASES as i64 + 1);
        assert_eq!(now.content, of(RELEASES - 1, number));
        for release in [1, 7, RELEASES] {
            let found = other.version(&key(number), release as i64).await;
            assert_eq!(found, of(release, number));
        }
    }
    let last = RELEASES as i64 + 1;
    follower
        .until(|follower| {
            let told = follower.configs.values();
            told.filter(|config| config.version == last).count() as u64 == KEYS
        })
        .await;
    server.stop().await;
    other.stop().await;
}

async fn more_than_a_mebibyte_together_is_too_much(backend: Backend) {
    let server = backend.server().await;
    let half = content(1, MIB / 2);
    let changes = [put("a", &half), put("b", &half), put("c", "x")];
    let request = |changes: &[ConfigChange]| CommitConfigsRequest {
        changes: changes.to_vec(),
        ..CommitConfigsRequest::default()
    };
    let refused = server.configs().commit_configs(request(&changes)).await;
    assert_invalid(&refused.unwrap_err(), "changes");
    assert!(server.blobs().await.is_empty());
    let done = server
        .configs()
        .commit_configs(request(&changes[..2]))
        .await;
    assert!(done.unwrap().into_inner().committed);
    for key in ["a", "b"] {
        assert_eq!(server.version(key, 1).await, half);
    }
    server.stop().await;
}

async fn drafts_of_a_mebibyte_are_listed_and_published(backend: Backend) {
    let server = backend.server().await;
    const DRAFTS: u64 = 12;
    for number in 0..DRAFTS {
        let drafted = server.try_draft(&key(number), content(number, MIB)).await;
        drafted.unwrap();
    }
    let too_large = server.try_draft("a", content(1, MIB + 1)).await;
    assert_invalid(&too_large.unwrap_err(), "put.content");
    let list = ListDraftsRequest {
        page_size: 100,
        ..ListDraftsRequest::default()
    };
    let listed = server.configs().list_drafts(list).await.unwrap();
    assert_eq!(listed.into_inner().drafts.len() as u64, DRAFTS);
    let request = GetDraftRequest {
        key: key(3),
        ..GetDraftRequest::default()
    };
    let found = server.configs().get_draft(request).await.unwrap();
    let change = found.into_inner().draft.unwrap().change.unwrap();
    assert!(matches!(change, config_draft::Change::Put(put) if put.content == content(3, MIB)));
    // One fills a release; two are too much.
    let two = vec![from_draft(&key(0)), from_draft(&key(1))];
    assert_invalid(
        &server.release_at_once("1", two).await.unwrap_err(),
        "changes",
    );
    let all = (0..DRAFTS).map(|number| from_draft(&key(number)));
    let all = server.release_at_once("1", all.collect()).await;
    assert_invalid(&all.unwrap_err(), "changes");
    let one = server.release_at_once("1", vec![from_draft(&key(3))]).await;
    one.unwrap();
    assert_eq!(server.version(&key(3), 1).await, content(3, MIB));
    server.stop().await;
}
