//! Changes of several configs, together or not at all.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use stanchion_client::proto::{
    CommitConfigsRequest, CommitConfigsResponse, ConfigChange, ConfigDelete, ConfigOperation,
    ConfigPut, ConfigRollback, Consistency, Guard, config_change::Change,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{
    delete,
    follower::{Follower, prefix},
    get, put, rollback,
};
use crate::support::server::{Backend, Server, assert_invalid, assert_status, on_both_stores};

on_both_stores! {
    changes_happen_at_one_revision_and_reach_watchers_as_one_delta,
    one_config_that_is_not_as_expected_stops_all_of_them,
    an_expectation_alone_changes_nothing_and_counts,
    checksums_are_compared_too,
    what_would_come_of_a_change_is_told_without_making_it,
    a_hundred_keys_fit_whether_they_are_new_or_not,
    bad_commits_are_refused_and_change_nothing,
    a_repeated_commit_gets_its_first_answer,
    a_guard_that_does_not_hold_stops_a_commit,
    concurrent_commits_leave_no_holes_and_no_mixture,
    commits_through_three_replicas_are_made_on_what_is_there,
}

async fn changes_happen_at_one_revision_and_reach_watchers_as_one_delta(backend: Backend) {
    let server = backend.server().await;
    server.put("gone", "1").await;
    server.put("back", "1").await;
    server.put("back", "2").await;
    server.put("same", "1").await;
    let mut follower = Follower::start(&server, prefix("")).await;
    let answer = server
        .commit([
            write("new", "1"),
            remove("gone"),
            revert("back", 1),
            write("same", "1"),
            remove("never"),
        ])
        .await;
    assert!(answer.committed);
    let told: Vec<_> = answer
        .results
        .iter()
        .map(|result| (&result.key[..], result.version, result.unchanged))
        .collect();
    let expected = [
        ("new", 1, false),
        ("gone", 2, false),
        ("back", 3, false),
        ("same", 1, true),
        ("never", 0, true),
    ];
    assert_eq!(told, expected);
    let revision = answer.header.unwrap().revision;
    let shown = |at: usize| answer.results[at].config.clone();
    assert_eq!(shown(0).unwrap().revision, revision);
    assert_eq!((shown(1), shown(4)), (None, None));
    let back = server.try_get(get("back")).await.unwrap();
    assert_eq!((back.revision, back.rollback_of), (revision, 1));
    assert_eq!(back.operation(), ConfigOperation::Rollback);
    let gone = server.try_get(get("gone")).await.unwrap_err();
    assert_status(&gone, Code::NotFound, "CONFIG_NOT_FOUND");
    follower.until_content("new", "1").await;
    let expected = [("back", "1"), ("new", "1"), ("same", "1")];
    assert_eq!(follower.contents(), BTreeMap::from(expected));
    assert_eq!(follower.deltas, (1, 0));
    server.stop().await;
}

async fn one_config_that_is_not_as_expected_stops_all_of_them(backend: Backend) {
    let server = backend.server().await;
    server.put("a", "1").await;
    server.put("b", "1").await;
    server.put("b", "2").await;
    let answer = server
        .commit([
            expecting(1, write("a", "new")),
            expecting(1, write("b", "new")),
            expecting(0, write("c", "new")),
        ])
        .await;
    assert!(!answer.committed);
    let told: Vec<_> = answer
        .results
        .iter()
        .map(|result| (result.as_expected, result.version, result.unchanged))
        .collect();
    assert_eq!(told, [(true, 1, true), (false, 2, true), (true, 0, true)]);
    let there = answer.results[1].config.as_ref().unwrap();
    assert_eq!((there.size_bytes, &there.sha256), (1, &sha256("2")));
    assert_eq!(server.version_numbers("a").await, [1]);
    assert_eq!(server.version_numbers("b").await, [2, 1]);
    assert!(server.versions("c").await.is_empty());
    server.stop().await;
}

async fn an_expectation_alone_changes_nothing_and_counts(backend: Backend) {
    let server = backend.server().await;
    server.put("switch", "on").await;
    let guarded = |version| [expecting(version, only("switch")), write("a", "1")];
    let answer = server.commit(guarded(1)).await;
    assert!(answer.committed && answer.results[0].unchanged);
    let answer = server.commit(guarded(2)).await;
    assert!(!answer.committed && !answer.results[0].as_expected);
    let answer = server.commit([expecting(1, only("switch"))]).await;
    assert!(answer.committed);
    assert_eq!(server.version_numbers("switch").await, [1]);
    assert_eq!(server.version_numbers("a").await, [1]);
    server.stop().await;
}

async fn checksums_are_compared_too(backend: Backend) {
    let server = backend.server().await;
    server.put("a", "1").await;
    let mut change = write("a", "2");
    change.expected_sha256 = sha256("2");
    assert!(!server.commit([change.clone()]).await.committed);
    change.expected_sha256 = sha256("1");
    assert!(server.commit([change]).await.committed);

    let mut request = put("a", "3");
    request.expected_sha256 = sha256("1");
    let stale = server.try_put(request.clone()).await.unwrap_err();
    assert_status(&stale, Code::Aborted, "CHECKSUM_MISMATCH");
    let metadata = stale.get_details_error_info().unwrap().metadata;
    assert_eq!(metadata["current_sha256"], sha256("2"));
    request.expected_sha256 = sha256("2");
    request.expected_version = Some(1);
    let stale = server.try_put(request.clone()).await.unwrap_err();
    assert_status(&stale, Code::Aborted, "VERSION_MISMATCH");
    request.expected_version = Some(2);
    server.try_put(request.clone()).await.unwrap();
    request.expected_sha256 = "ABC".into();
    let bad = server.try_put(request).await.unwrap_err();
    assert_invalid(&bad, "expected_sha256");
    let mut request = rollback("a", 1);
    request.expected_sha256 = sha256("2");
    let stale = server.try_rollback(request).await.unwrap_err();
    assert_status(&stale, Code::Aborted, "CHECKSUM_MISMATCH");
    let mut request = delete("a");
    request.expected_sha256 = sha256("3");
    assert!(server.try_delete(request.clone()).await.unwrap().deleted);
    let gone = server.try_delete(request).await.unwrap_err();
    assert_status(&gone, Code::Aborted, "CHECKSUM_MISMATCH");
    let metadata = gone.get_details_error_info().unwrap().metadata;
    assert_eq!(metadata["current_sha256"], "");
    server.stop().await;
}

async fn what_would_come_of_a_change_is_told_without_making_it(backend: Backend) {
    let server = backend.server().await;
    let before = server.put("a", "1").await;
    let mut request = request([write("a", "2"), write("b", "1"), write("a/same", "")]);
    request.validate_only = true;
    let answer = server.try_commit(request.clone()).await.unwrap();
    assert!(answer.committed);
    let told: Vec<_> = answer
        .results
        .iter()
        .map(|result| (result.version, result.unchanged))
        .collect();
    assert_eq!(told, [(2, false), (1, false), (1, false)]);
    assert_eq!(answer.results[0].config.as_ref().unwrap().revision, 0);
    request.changes[0].expected_version = Some(7);
    assert!(!server.try_commit(request.clone()).await.unwrap().committed);
    request.changes = vec![revert("a", 9)];
    let missing = server.try_commit(request).await.unwrap_err();
    assert_status(&missing, Code::NotFound, "CONFIG_VERSION_NOT_FOUND");

    let mut single = put("a", "2");
    single.validate_only = true;
    let would = server.try_put(single).await.unwrap();
    assert_eq!((would.unchanged, would.config.unwrap().version), (false, 2));
    let mut single = delete("a");
    single.validate_only = true;
    let would = server.try_delete(single).await.unwrap();
    assert_eq!((would.deleted, would.version), (true, 2));
    let mut single = rollback("a", 1);
    single.validate_only = true;
    assert!(server.try_rollback(single).await.unwrap().unchanged);
    let after = server.try_get(linearizable("a")).await.unwrap();
    assert_eq!((after.version, after.revision), (1, before.revision));
    assert!(server.versions("b").await.is_empty());
    server.stop().await;
}

async fn a_hundred_keys_fit_whether_they_are_new_or_not(backend: Backend) {
    let server = backend.server().await;
    let key = |number: usize| format!("{}/{number}", "k".repeat(400));
    let writes =
        |content: &str| Vec::from_iter((0..100).map(|number| write(&key(number), content)));
    let new = server.commit(writes("1")).await;
    assert!(new.committed && new.results.iter().all(|result| result.version == 1));
    let changed = server.commit(writes("2")).await;
    assert!(changed.committed && changed.results.iter().all(|result| result.version == 2));
    let back = server
        .commit(Vec::from_iter(
            (0..100).map(|number| revert(&key(number), 1)),
        ))
        .await;
    assert!(back.committed && back.results.iter().all(|result| result.version == 3));
    let gone = server
        .commit(Vec::from_iter((0..100).map(|number| remove(&key(number)))))
        .await;
    assert!(gone.committed && gone.results.iter().all(|result| result.config.is_none()));
    let again = server.commit(writes("5")).await;
    assert!(again.committed && again.results.iter().all(|result| result.version == 5));
    let one = again.header.unwrap().revision;
    let shared = again
        .results
        .into_iter()
        .map(|result| result.config.unwrap().revision);
    assert!(shared.into_iter().all(|revision| revision == one));
    server.stop().await;
}

async fn bad_commits_are_refused_and_change_nothing(backend: Backend) {
    let server = backend.server().await;
    let refuse = async |changes: Vec<ConfigChange>, field: &str| {
        let refused = server.try_commit(request(changes)).await.unwrap_err();
        assert_invalid(&refused, field);
    };
    refuse(Vec::new(), "changes").await;
    let too_many = (0..=100).map(|number| write(&format!("{number}"), "1"));
    refuse(too_many.collect(), "changes").await;
    refuse(vec![write("a", "1"), remove("a")], "changes[1].key").await;
    refuse(vec![write("a", "1"), write("b//c", "1")], "changes[1].key").await;
    refuse(vec![write("a", "1"), only("b")], "changes[1]").await;
    let negative = expecting(-1, write("b", "1"));
    refuse(
        vec![write("a", "1"), negative],
        "changes[1].expected_version",
    )
    .await;
    refuse(
        vec![write("a", "1"), revert("b", 0)],
        "changes[1].rollback.version",
    )
    .await;
    let large = "x".repeat(1024 * 1024 + 1);
    refuse(
        vec![write("a", "1"), write("b", &large)],
        "changes[1].put.content",
    )
    .await;
    let eighth = "x".repeat(128 * 1024);
    let many = (0..8).map(|number| write(&format!("{number}"), &eighth));
    refuse(many.chain([write("a", "1")]).collect(), "changes").await;
    let missing = server
        .try_commit(request([write("a", "1"), revert("b", 3)]))
        .await;
    let missing = missing.unwrap_err();
    assert_status(&missing, Code::NotFound, "CONFIG_VERSION_NOT_FOUND");
    assert!(server.versions("a").await.is_empty());
    server.stop().await;
}

async fn a_repeated_commit_gets_its_first_answer(backend: Backend) {
    let server = backend.server().await;
    server.put("same", "1").await;
    let mut request = request([write("a", "1"), write("same", "1"), write("b", "1")]);
    request.request_id = "r".into();
    request.changes[0].expected_version = Some(0);
    let first = server.try_commit(request.clone()).await.unwrap();
    server.put("a", "2").await;
    let other = backend.server().await;
    for server in [&server, &other] {
        let again = server.try_commit(request.clone()).await.unwrap();
        assert_eq!((again.committed, &again.results), (true, &first.results));
        let mut different = request.clone();
        different.changes.pop();
        let refused = server.try_commit(different).await.unwrap_err();
        assert_invalid(&refused, "request_id");
    }
    assert_eq!(server.version_numbers("a").await, [2, 1]);
    assert_eq!(server.version_numbers("b").await, [1]);
    server.stop().await;
    other.stop().await;
}

async fn a_guard_that_does_not_hold_stops_a_commit(backend: Backend) {
    let server = backend.server().await;
    for validate_only in [false, true] {
        let mut request = request((0..100).map(|number| write(&format!("{number}"), "1")));
        request.guard = Some(Guard {
            lock: "nightly".into(),
            fencing_token: 7,
            ..Guard::default()
        });
        request.validate_only = validate_only;
        let refused = server.try_commit(request).await.unwrap_err();
        assert_status(&refused, Code::FailedPrecondition, "GUARD_FAILED");
    }
    assert!(server.versions("0").await.is_empty());
    server.stop().await;
}

/// Everybody increments two of three counters, in turn and by comparing; each pair at once.
async fn concurrent_commits_leave_no_holes_and_no_mixture(backend: Backend) {
    const WRITERS: usize = 6;
    const COMMITS: i64 = 4;
    let servers = [backend.server().await, backend.server().await];
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let mut configs = servers[writer % servers.len()].configs();
        let keys = [["x", "y"], ["y", "z"], ["z", "x"]][writer % 3];
        writers.spawn(async move {
            let mut versions = [0, 0];
            let mut done = 0;
            while done < COMMITS {
                let changes = keys.iter().zip(versions).map(|(key, version)| {
                    expecting(version, write(key, &format!("{}", version + 1)))
                });
                let answer = configs.commit_configs(request(changes)).await.unwrap();
                let answer = answer.into_inner();
                done += i64::from(answer.committed);
                versions = [answer.results[0].version, answer.results[1].version];
            }
        });
    }
    writers.join_all().await;
    let total = WRITERS as i64 * COMMITS * 2 / 3;
    for key in ["x", "y", "z"] {
        let numbers = servers[0].version_numbers(key).await;
        assert_eq!(numbers, Vec::from_iter((1..=total).rev()));
        let last = servers[0].try_get(linearizable(key)).await.unwrap();
        assert_eq!(last.content, format!("{total}"));
    }
    for server in servers {
        server.stop().await;
    }
}

async fn commits_through_three_replicas_are_made_on_what_is_there(backend: Backend) {
    let servers = [
        backend.server().await,
        backend.server().await,
        backend.server().await,
    ];
    for round in 0..12 {
        let server = &servers[round % 3];
        let answer = server
            .commit((0..20).map(|number| {
                expecting(
                    round as i64,
                    write(&format!("{number}"), &format!("{round}")),
                )
            }))
            .await;
        assert!(answer.committed, "{answer:?}");
    }
    for server in servers {
        server.stop().await;
    }
}

pub(super) fn request(changes: impl IntoIterator<Item = ConfigChange>) -> CommitConfigsRequest {
    CommitConfigsRequest {
        changes: changes.into_iter().collect(),
        ..CommitConfigsRequest::default()
    }
}

pub(super) fn only(key: &str) -> ConfigChange {
    ConfigChange {
        key: key.into(),
        ..ConfigChange::default()
    }
}

pub(super) fn write(key: &str, content: &str) -> ConfigChange {
    ConfigChange {
        change: Some(Change::Put(ConfigPut {
            content: content.to_owned().into(),
            ..ConfigPut::default()
        })),
        ..only(key)
    }
}

pub(super) fn remove(key: &str) -> ConfigChange {
    ConfigChange {
        change: Some(Change::Delete(ConfigDelete {})),
        ..only(key)
    }
}

pub(super) fn revert(key: &str, version: i64) -> ConfigChange {
    ConfigChange {
        change: Some(Change::Rollback(ConfigRollback { version })),
        ..only(key)
    }
}

pub(super) fn expecting(version: i64, change: ConfigChange) -> ConfigChange {
    ConfigChange {
        expected_version: Some(version),
        ..change
    }
}

fn linearizable(key: &str) -> stanchion_client::proto::GetConfigRequest {
    let mut request = get(key);
    request.consistency = Consistency::Linearizable.into();
    request
}

fn sha256(content: &str) -> String {
    let digest = Sha256::digest(content);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Server {
    pub(super) async fn try_commit(
        &self,
        request: CommitConfigsRequest,
    ) -> Result<CommitConfigsResponse, Status> {
        Ok(self.configs().commit_configs(request).await?.into_inner())
    }

    async fn commit(
        &self,
        changes: impl IntoIterator<Item = ConfigChange>,
    ) -> CommitConfigsResponse {
        self.try_commit(request(changes)).await.unwrap()
    }
}
