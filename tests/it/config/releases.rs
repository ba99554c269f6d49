//! Drafts and releases.

use std::collections::BTreeMap;

use stanchion_client::proto::{
    ConfigChange, ConfigFromDraft, ConfigOperation, ConfigPut, DiscardDraftRequest,
    GetDraftRequest, GetReleaseRequest, Guard, ListDraftsRequest, ListReleasesRequest,
    PublishReleaseRequest, PutDraftRequest, Release, RollbackReleaseRequest, config_change::Change,
    config_draft, put_draft_request,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{
    commits::{expecting, only, remove, revert, write},
    delete,
    follower::{Follower, prefix},
    get,
};
use crate::support::server::{Backend, Server, assert_invalid, assert_status, on_both_stores};

on_both_stores! {
    drafts_are_kept_listed_and_discarded_without_effect,
    a_draft_is_put_by_compare_and_once,
    a_release_publishes_drafts_and_changes_as_one_delta,
    a_draft_that_was_put_anew_survives_its_release,
    one_bad_key_stops_a_release,
    a_name_is_taken_once_and_a_repeated_request_gets_its_release,
    a_rollback_restores_what_was_before_a_release,
    a_rollback_stops_at_what_has_changed_since_unless_forced,
    a_hundred_drafts_are_published_at_once,
    releases_are_listed_newest_first,
    what_a_release_would_do_is_told_without_doing_it,
    replicas_publish_one_release_of_a_name,
}

async fn drafts_are_kept_listed_and_discarded_without_effect(backend: Backend) {
    let server = backend.server().await;
    server.put("db/host", "old").await;
    server.draft("db/host", Some("new")).await;
    server.draft("db/port", Some("1")).await;
    server.draft("web", None).await;
    assert_eq!(server.try_get(get("db/host")).await.unwrap().content, "old");
    let request = GetDraftRequest {
        key: "db/host".into(),
        ..Default::default()
    };
    let draft = server.configs().get_draft(request.clone()).await.unwrap();
    let draft = draft.into_inner().draft.unwrap();
    assert!(matches!(&draft.change, Some(config_draft::Change::Put(put)) if put.content == "new"));
    assert_eq!(draft.base_version, 1);
    assert_eq!(server.drafts("", 100).await, ["db/host", "db/port", "web"]);
    assert_eq!(server.drafts("", 1).await, ["db/host", "db/port", "web"]);
    assert_eq!(server.drafts("db/", 2).await, ["db/host", "db/port"]);
    assert!(server.discard("db/host").await);
    assert!(!server.discard("db/host").await);
    let gone = server.configs().get_draft(request).await.unwrap_err();
    assert_status(&gone, Code::NotFound, "CONFIG_DRAFT_NOT_FOUND");
    server.stop().await;
}

async fn a_draft_is_put_by_compare_and_once(backend: Backend) {
    let server = backend.server().await;
    let mut request = put_draft("a", Some("1"));
    request.request_id = "r".into();
    request.expected_revision = Some(0);
    let first = server.configs().put_draft(request.clone()).await.unwrap();
    let first = first.into_inner();
    assert!(!first.unchanged);
    let again = server.configs().put_draft(request.clone()).await.unwrap();
    assert_eq!(again.into_inner().draft, first.draft);
    let other = put_draft("a", Some("2"));
    let other = PutDraftRequest {
        change: other.change,
        ..request.clone()
    };
    let reused = server.configs().put_draft(other).await.unwrap_err();
    assert_invalid(&reused, "request_id");
    request.request_id = String::new();
    let stale = server
        .configs()
        .put_draft(request.clone())
        .await
        .unwrap_err();
    assert_status(&stale, Code::Aborted, "REVISION_MISMATCH");
    request.expected_revision = Some(first.draft.unwrap().revision);
    let same = server.configs().put_draft(request.clone()).await.unwrap();
    assert!(same.into_inner().unchanged);
    request.guard = guard();
    let refused = server
        .configs()
        .put_draft(request.clone())
        .await
        .unwrap_err();
    assert_status(&refused, Code::FailedPrecondition, "GUARD_FAILED");
    request.guard = None;
    request.change = None;
    let empty = server.configs().put_draft(request).await.unwrap_err();
    assert_invalid(&empty, "change");
    let large = put_draft("a", Some(&"x".repeat(1024 * 1024 + 1)));
    let large = server.configs().put_draft(large).await.unwrap_err();
    assert_invalid(&large, "put.content");
    let discard = DiscardDraftRequest {
        key: "a".into(),
        expected_revision: Some(1),
        ..Default::default()
    };
    let stale = server.configs().discard_draft(discard).await.unwrap_err();
    assert_status(&stale, Code::Aborted, "REVISION_MISMATCH");
    server.stop().await;
}

async fn a_release_publishes_drafts_and_changes_as_one_delta(backend: Backend) {
    let server = backend.server().await;
    server.put("a", "1").await;
    server.put("gone", "1").await;
    server.put("back", "1").await;
    server.put("back", "2").await;
    server.put("same", "1").await;
    server.draft("a", Some("2")).await;
    server.draft("gone", None).await;
    let mut follower = Follower::start(&server, prefix("")).await;
    let mut request = publish(
        "r1",
        [
            draft("a"),
            draft("gone"),
            revert("back", 1),
            write("same", "1"),
            write("new", "1"),
            expecting(0, only("never")),
        ],
    );
    request.comment = "why".into();
    request.actor = "ann".into();
    let release = server.try_publish(request).await.unwrap();
    assert_eq!((&release.comment[..], &release.author[..]), ("why", "ann"));
    let told: Vec<_> = release
        .items
        .iter()
        .map(|item| {
            let key = &item.key[..];
            (
                key,
                item.version,
                item.previous_version,
                item.deleted,
                item.unchanged,
            )
        })
        .collect();
    let expected = [
        ("a", 2, 1, false, false),
        ("gone", 2, 1, true, false),
        ("back", 3, 2, false, false),
        ("same", 1, 1, false, true),
        ("new", 1, 0, false, false),
    ];
    assert_eq!(told, expected);
    follower.until_content("new", "1").await;
    let expected = [("a", "2"), ("back", "1"), ("new", "1"), ("same", "1")];
    assert_eq!(follower.contents(), BTreeMap::from(expected));
    assert_eq!(follower.deltas, (1, 0));
    assert!(server.drafts("", 100).await.is_empty());
    let back = server.try_get(get("back")).await.unwrap();
    assert_eq!((&back.release[..], back.rollback_of), ("r1", 1));
    assert_eq!(back.operation(), ConfigOperation::Release);
    assert_eq!(back.revision, release.revision);
    assert_eq!(server.versions("gone").await[0].release, "r1");
    assert_eq!(server.release("r1").await.unwrap(), release);
    server.stop().await;
}

async fn a_draft_that_was_put_anew_survives_its_release(backend: Backend) {
    let server = backend.server().await;
    let first = server.draft("a", Some("1")).await;
    let mut change = draft("a");
    change.change = Some(Change::Draft(ConfigFromDraft { revision: first }));
    server.draft("a", Some("2")).await;
    let stale = server
        .try_publish(publish("r", [change]))
        .await
        .unwrap_err();
    assert_status(&stale, Code::Aborted, "REVISION_MISMATCH");
    assert_eq!(server.drafts("", 100).await, ["a"]);
    let missing = server.try_publish(publish("r", [draft("b")])).await;
    assert_status(
        &missing.unwrap_err(),
        Code::NotFound,
        "CONFIG_DRAFT_NOT_FOUND",
    );
    let commit = server
        .try_commit(super::commits::request([draft("a")]))
        .await;
    assert_invalid(&commit.unwrap_err(), "changes[0].draft");
    server.stop().await;
}

async fn one_bad_key_stops_a_release(backend: Backend) {
    let server = backend.server().await;
    server.put("a", "1").await;
    server.put("a", "2").await;
    let changes = [write("b", "1"), expecting(1, write("a", "3"))];
    let stale = server.try_publish(publish("r", changes)).await.unwrap_err();
    assert_status(&stale, Code::Aborted, "CONFIGS_CHANGED");
    let metadata = stale.get_details_error_info().unwrap().metadata;
    assert_eq!((&metadata["keys"][..], &metadata["count"][..]), ("a", "1"));
    let bad = server.try_publish(publish("r", [write("b", "1"), write("", "1")]));
    assert_invalid(&bad.await.unwrap_err(), "changes[1].key");
    let many = (0..101).map(|number| write(&format!("{number}"), "1"));
    let bad = server.try_publish(publish("r", many));
    assert_invalid(&bad.await.unwrap_err(), "changes");
    let bad = server.try_publish(publish("a/b", [write("b", "1")]));
    assert_invalid(&bad.await.unwrap_err(), "name");
    let mut guarded = publish("r", [write("b", "1")]);
    guarded.guard = guard();
    let refused = server.try_publish(guarded).await.unwrap_err();
    assert_status(&refused, Code::FailedPrecondition, "GUARD_FAILED");
    assert!(server.versions("b").await.is_empty());
    let missing = server.release("r").await.unwrap_err();
    assert_status(&missing, Code::NotFound, "RELEASE_NOT_FOUND");
    server.stop().await;
}

async fn a_name_is_taken_once_and_a_repeated_request_gets_its_release(backend: Backend) {
    let server = backend.server().await;
    server.draft("a", Some("1")).await;
    let mut request = publish("r", [draft("a")]);
    request.request_id = "once".into();
    let first = server.try_publish(request.clone()).await.unwrap();
    server.put("a", "2").await;
    let other = backend.server().await;
    for server in [&server, &other] {
        assert_eq!(server.try_publish(request.clone()).await.unwrap(), first);
        let taken = server.try_publish(publish("r", [write("b", "1")]));
        let taken = taken.await.unwrap_err();
        assert_status(&taken, Code::AlreadyExists, "RELEASE_ALREADY_EXISTS");
    }
    assert_eq!(server.version_numbers("a").await, [2, 1]);
    assert!(server.versions("b").await.is_empty());
    server.stop().await;
    other.stop().await;
}

async fn a_rollback_restores_what_was_before_a_release(backend: Backend) {
    let server = backend.server().await;
    server.put("changed", "1").await;
    server.put("deleted", "1").await;
    server.put("same", "1").await;
    server.put("brought", "1").await;
    server.try_delete(delete("brought")).await.unwrap();
    let changes = [
        write("changed", "2"),
        remove("deleted"),
        write("same", "1"),
        write("brought", "2"),
        write("new", "1"),
    ];
    server.try_publish(publish("r", changes)).await.unwrap();
    // What the release left alone may change.
    server.put("same", "2").await;
    let mut request = RollbackReleaseRequest {
        name: "r".into(),
        request_id: "once".into(),
        ..Default::default()
    };
    let release = server.try_roll_back(request.clone()).await.unwrap();
    assert_eq!(
        (&release.name[..], &release.rollback_of[..]),
        ("r.rollback", "r")
    );
    assert_eq!(
        server.try_roll_back(request.clone()).await.unwrap(),
        release
    );
    let mut follower = Follower::start(&server, prefix("")).await;
    let expected = [("changed", "1"), ("deleted", "1"), ("same", "2")];
    assert_eq!(follower.contents(), BTreeMap::from(expected));
    // And back again: a rollback is a release.
    request.name = "r.rollback".into();
    request.new_name = "r2".into();
    request.request_id = "twice".into();
    server.try_roll_back(request).await.unwrap();
    follower.until_content("new", "1").await;
    let expected = [
        ("brought", "2"),
        ("changed", "2"),
        ("new", "1"),
        ("same", "2"),
    ];
    assert_eq!(follower.contents(), BTreeMap::from(expected));
    assert_eq!(follower.deltas, (1, 0));
    server.stop().await;
}

async fn a_rollback_stops_at_what_has_changed_since_unless_forced(backend: Backend) {
    let server = backend.server().await;
    server.put("a", "1").await;
    let changes = [write("a", "2"), write("b", "2")];
    server.try_publish(publish("r", changes)).await.unwrap();
    server.put("a", "3").await;
    let mut request = RollbackReleaseRequest {
        name: "r".into(),
        ..Default::default()
    };
    let stale = server.try_roll_back(request.clone()).await.unwrap_err();
    assert_status(&stale, Code::Aborted, "CONFIGS_CHANGED");
    let metadata = stale.get_details_error_info().unwrap().metadata;
    assert_eq!(metadata["keys"], "a");
    assert_eq!(server.try_get(get("b")).await.unwrap().content, "2");
    request.force = true;
    server.try_roll_back(request.clone()).await.unwrap();
    assert_eq!(server.try_get(get("a")).await.unwrap().content, "1");
    let gone = server.try_get(get("b")).await.unwrap_err();
    assert_status(&gone, Code::NotFound, "CONFIG_NOT_FOUND");
    request.name = "never".into();
    let missing = server.try_roll_back(request).await.unwrap_err();
    assert_status(&missing, Code::NotFound, "RELEASE_NOT_FOUND");
    server.stop().await;
}

async fn a_hundred_drafts_are_published_at_once(backend: Backend) {
    let server = backend.server().await;
    let key = |number: usize| format!("{number:03}");
    for number in 0..100 {
        server.draft(&key(number), Some("1")).await;
    }
    let changes: Vec<_> = (0..100).map(|number| draft(&key(number))).collect();
    let release = server.try_publish(publish("r", changes)).await.unwrap();
    assert_eq!(release.items.len(), 100);
    assert!(server.drafts("", 100).await.is_empty());
    let request = RollbackReleaseRequest {
        name: "r".into(),
        ..Default::default()
    };
    server.try_roll_back(request).await.unwrap();
    let follower = Follower::start(&server, prefix("")).await;
    assert!(follower.configs.is_empty());
    server.stop().await;
}

async fn releases_are_listed_newest_first(backend: Backend) {
    let server = backend.server().await;
    for number in 0..5 {
        let changes = [write("a", &format!("{number}"))];
        let request = publish(&format!("r{number}"), changes);
        server.try_publish(request).await.unwrap();
    }
    for page_size in [2, 100] {
        let mut request = ListReleasesRequest {
            page_size,
            ..Default::default()
        };
        let mut names = Vec::new();
        loop {
            let page = server.configs().list_releases(request.clone()).await;
            let page = page.unwrap().into_inner();
            assert!(page.releases.iter().all(|release| release.items.is_empty()));
            assert!(page.releases.iter().all(|release| release.item_count == 1));
            names.extend(page.releases.into_iter().map(|release| release.name));
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        assert_eq!(names, ["r4", "r3", "r2", "r1", "r0"]);
    }
    server.stop().await;
}

async fn what_a_release_would_do_is_told_without_doing_it(backend: Backend) {
    let server = backend.server().await;
    server.draft("a", Some("1")).await;
    let mut request = publish("r", [draft("a"), write("b", "1")]);
    request.validate_only = true;
    let would = server.try_publish(request).await.unwrap();
    assert_eq!((would.revision, would.items.len()), (0, 2));
    assert_eq!(server.drafts("", 100).await, ["a"]);
    assert!(server.versions("a").await.is_empty());
    let missing = server.release("r").await.unwrap_err();
    assert_status(&missing, Code::NotFound, "RELEASE_NOT_FOUND");
    server.stop().await;
}

async fn replicas_publish_one_release_of_a_name(backend: Backend) {
    let servers = [
        backend.server().await,
        backend.server().await,
        backend.server().await,
    ];
    for round in 0..4 {
        let mut publishers = tokio::task::JoinSet::new();
        for (at, server) in servers.iter().enumerate() {
            let mut configs = server.configs();
            let name = format!("r{round}");
            publishers.spawn(async move {
                let request = publish(&name, [write("a", &format!("{round} {at}"))]);
                configs.publish_release(request).await.map(drop)
            });
        }
        let answers = publishers.join_all().await;
        let refused: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
        assert_eq!(refused.len(), 2);
        for refused in refused {
            assert_status(&refused, Code::AlreadyExists, "RELEASE_ALREADY_EXISTS");
        }
    }
    assert_eq!(servers[0].version_numbers("a").await, [4, 3, 2, 1]);
    for server in servers {
        server.stop().await;
    }
}

fn publish(name: &str, changes: impl IntoIterator<Item = ConfigChange>) -> PublishReleaseRequest {
    PublishReleaseRequest {
        name: name.into(),
        changes: changes.into_iter().collect(),
        ..Default::default()
    }
}

fn draft(key: &str) -> ConfigChange {
    ConfigChange {
        change: Some(Change::Draft(ConfigFromDraft { revision: 0 })),
        ..only(key)
    }
}

fn put_draft(key: &str, content: Option<&str>) -> PutDraftRequest {
    let put = |content: &str| ConfigPut {
        content: content.to_owned().into(),
        ..Default::default()
    };
    PutDraftRequest {
        key: key.into(),
        change: Some(match content {
            Some(content) => put_draft_request::Change::Put(put(content)),
            None => put_draft_request::Change::Delete(Default::default()),
        }),
        ..Default::default()
    }
}

fn guard() -> Option<Guard> {
    Some(Guard {
        lock: "nightly".into(),
        fencing_token: 7,
        ..Guard::default()
    })
}

impl Server {
    /// Puts a draft and says at which revision it is.
    async fn draft(&self, key: &str, content: Option<&str>) -> i64 {
        let answer = self.configs().put_draft(put_draft(key, content)).await;
        answer.unwrap().into_inner().draft.unwrap().revision
    }

    async fn drafts(&self, prefix: &str, page_size: i32) -> Vec<String> {
        let mut request = ListDraftsRequest {
            prefix: prefix.into(),
            page_size,
            ..Default::default()
        };
        let mut keys = Vec::new();
        loop {
            let page = self.configs().list_drafts(request.clone()).await;
            let page = page.unwrap().into_inner();
            keys.extend(page.drafts.into_iter().map(|draft| draft.key));
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                return keys;
            }
        }
    }

    async fn discard(&self, key: &str) -> bool {
        let request = DiscardDraftRequest {
            key: key.into(),
            ..Default::default()
        };
        let answer = self.configs().discard_draft(request).await;
        answer.unwrap().into_inner().discarded
    }

    async fn try_publish(&self, request: PublishReleaseRequest) -> Result<Release, Status> {
        let answer = self.configs().publish_release(request).await?;
        Ok(answer.into_inner().release.unwrap())
    }

    async fn try_roll_back(&self, request: RollbackReleaseRequest) -> Result<Release, Status> {
        let answer = self.configs().rollback_release(request).await?;
        Ok(answer.into_inner().release.unwrap())
    }

    async fn release(&self, name: &str) -> Result<Release, Status> {
        let request = GetReleaseRequest {
            name: name.into(),
            ..Default::default()
        };
        let answer = self.configs().get_release(request).await?;
        Ok(answer.into_inner().release.unwrap())
    }
}
