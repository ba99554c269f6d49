//! Put, delete, roll back.

use std::collections::{BTreeMap, BTreeSet};

use stanchion_client::proto::{
    ConfigOperation, Consistency, ContentType, GetConfigVersionRequest, Guard, PutConfigRequest,
};
use tonic::Code;
use tonic_types::StatusExt;

use super::{delete, get, put, rollback};
use crate::support::server::{Backend, assert_invalid, assert_status, on_both_stores};

on_both_stores! {
    versions_go_on_over_put_rollback_delete_and_put_again,
    a_rollback_copies_every_field_and_names_its_source,
    a_rollback_brings_a_deleted_config_back,
    a_rollback_to_no_version_or_to_a_deletion_is_not_found,
    a_stale_expected_version_changes_nothing,
    expected_version_zero_means_absent_or_deleted,
    writing_the_same_again_changes_nothing,
    deleting_what_is_gone_changes_nothing_and_succeeds,
    concurrent_writers_get_every_version_exactly_once,
    a_replica_that_is_behind_decides_on_what_the_store_says,
    a_write_on_one_replica_is_read_linearizably_on_another,
    a_guard_of_a_lock_nobody_holds_refuses_every_change,
}

async fn versions_go_on_over_put_rollback_delete_and_put_again(backend: Backend) {
    let server = backend.server().await;
    let first = server.put("db/host", "one").await;
    assert_eq!((first.version, first.content.len()), (1, 0));
    assert_eq!(first.size_bytes, 3);
    assert_eq!(server.put("db/host", "two").await.version, 2);
    let found = server.try_get(get("db/host")).await.unwrap();
    assert_eq!((found.version, &found.content[..]), (2, &b"two"[..]));
    assert_eq!(found.namespace, "default");
    assert_eq!(
        found.sha256,
        "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3"
    );

    let back = server.try_rollback(rollback("db/host", 1)).await.unwrap();
    let config = back.config.unwrap();
    assert_eq!((config.version, config.rollback_of), (3, 1));
    let deleted = server.try_delete(delete("db/host")).await.unwrap();
    assert_eq!((deleted.deleted, deleted.version), (true, 4));
    let gone = server.try_get(get("db/host")).await.unwrap_err();
    assert_status(&gone, Code::NotFound, "CONFIG_NOT_FOUND");
    assert_eq!(server.put("db/host", "five").await.version, 5);

    let versions = server.versions("db/host").await;
    let operations: Vec<_> = versions
        .iter()
        .map(|v| (v.version, v.operation()))
        .collect();
    assert_eq!(
        operations,
        [
            (5, ConfigOperation::Put),
            (4, ConfigOperation::Delete),
            (3, ConfigOperation::Rollback),
            (2, ConfigOperation::Put),
            (1, ConfigOperation::Put),
        ]
    );
    assert!(versions.iter().all(|version| version.content.is_empty()));
    assert_eq!((versions[1].size_bytes, &versions[1].sha256[..]), (0, ""));
    assert_eq!(versions[4].size_bytes, 3);
    assert!(
        versions
            .windows(2)
            .all(|pair| pair[0].revision > pair[1].revision)
    );
    server.stop().await;
}

async fn a_rollback_copies_every_field_and_names_its_source(backend: Backend) {
    let server = backend.server().await;
    let first = PutConfigRequest {
        content_type: ContentType::Json.into(),
        labels: BTreeMap::from([("tier".into(), "gold".into())]),
        description: "limits".into(),
        actor: "ann".into(),
        comment: "first".into(),
        ..put("limits", "{}")
    };
    server.try_put(first).await.unwrap();
    server.put("limits", "x").await;
    let mut request = rollback("limits", 1);
    request.actor = "bob".into();
    request.comment = "x was wrong".into();
    let response = server.try_rollback(request).await.unwrap();
    assert!(!response.unchanged);

    let found = server.try_get(get("limits")).await.unwrap();
    assert_eq!(found.revision, response.header.unwrap().revision);
    assert_eq!((found.version, &found.content[..]), (3, &b"{}"[..]));
    assert_eq!(found.content_type(), ContentType::Json);
    assert_eq!(found.labels["tier"], "gold");
    assert_eq!(found.description, "limits");
    assert_eq!(
        (&found.author[..], &found.comment[..]),
        ("bob", "x was wrong")
    );
    assert_eq!(
        (found.operation(), found.rollback_of),
        (ConfigOperation::Rollback, 1)
    );

    let again = server.try_rollback(rollback("limits", 1)).await.unwrap();
    assert!(again.unchanged);
    assert_eq!(again.config.unwrap().version, 3);
    let current = server.try_rollback(rollback("limits", 3)).await.unwrap();
    assert!(current.unchanged);
    assert_eq!(server.version_numbers("limits").await, [3, 2, 1]);
    server.stop().await;
}

async fn a_rollback_brings_a_deleted_config_back(backend: Backend) {
    let server = backend.server().await;
    server.put("a", "one").await;
    server.try_delete(delete("a")).await.unwrap();
    let response = server.try_rollback(rollback("a", 1)).await.unwrap();
    assert!(!response.unchanged);
    let found = server.try_get(get("a")).await.unwrap();
    assert_eq!((found.version, &found.content[..]), (3, &b"one"[..]));
    server.stop().await;
}

async fn a_rollback_to_no_version_or_to_a_deletion_is_not_found(backend: Backend) {
    let server = backend.server().await;
    let unknown = server.try_rollback(rollback("never", 1)).await.unwrap_err();
    assert_status(&unknown, Code::NotFound, "CONFIG_VERSION_NOT_FOUND");
    server.put("a", "one").await;
    let unknown = server.try_rollback(rollback("a", 2)).await.unwrap_err();
    assert_status(&unknown, Code::NotFound, "CONFIG_VERSION_NOT_FOUND");
    server.try_delete(delete("a")).await.unwrap();
    let deletion = server.try_rollback(rollback("a", 2)).await.unwrap_err();
    assert_status(&deletion, Code::NotFound, "CONFIG_VERSION_NOT_FOUND");
    assert_invalid(
        &server.try_rollback(rollback("a", 0)).await.unwrap_err(),
        "version",
    );
    assert_eq!(server.version_numbers("a").await, [2, 1]);
    server.stop().await;
}

async fn a_stale_expected_version_changes_nothing(backend: Backend) {
    let server = backend.server().await;
    server.put("a", "one").await;
    server.put("a", "two").await;
    let mut request = put("a", "three");
    request.expected_version = Some(1);
    let stale = server.try_put(request.clone()).await.unwrap_err();
    assert_status(&stale, Code::Aborted, "VERSION_MISMATCH");
    let metadata = stale.get_details_error_info().unwrap().metadata;
    assert_eq!(metadata["expected_version"], "1");
    assert_eq!(metadata["current_version"], "2");
    let mut stale = delete("a");
    stale.expected_version = Some(1);
    let stale = server.try_delete(stale).await.unwrap_err();
    assert_status(&stale, Code::Aborted, "VERSION_MISMATCH");
    let mut stale = rollback("a", 1);
    stale.expected_version = Some(3);
    let stale = server.try_rollback(stale).await.unwrap_err();
    assert_status(&stale, Code::Aborted, "VERSION_MISMATCH");
    // Checked before anything else: a repeated content does not hide it.
    request.content = "two".into();
    let stale = server.try_put(request.clone()).await.unwrap_err();
    assert_status(&stale, Code::Aborted, "VERSION_MISMATCH");
    assert_eq!(server.version_numbers("a").await, [2, 1]);

    request.expected_version = Some(2);
    request.content = "three".into();
    assert_eq!(
        server
            .try_put(request)
            .await
            .unwrap()
            .config
            .unwrap()
            .version,
        3
    );
    server.stop().await;
}

async fn expected_version_zero_means_absent_or_deleted(backend: Backend) {
    let server = backend.server().await;
    let mut request = put("a", "one");
    request.expected_version = Some(1);
    let absent = server.try_put(request.clone()).await.unwrap_err();
    assert_status(&absent, Code::Aborted, "VERSION_MISMATCH");
    request.expected_version = Some(0);
    server.try_put(request.clone()).await.unwrap();
    request.content = "two".into();
    let present = server.try_put(request.clone()).await.unwrap_err();
    assert_status(&present, Code::Aborted, "VERSION_MISMATCH");
    server.try_delete(delete("a")).await.unwrap();
    let created = server.try_put(request).await.unwrap();
    assert_eq!(created.config.unwrap().version, 3);
    server.stop().await;
}

async fn writing_the_same_again_changes_nothing(backend: Backend) {
    let server = backend.server().await;
    let first = server.put("a", "one").await;
    let mut request = put("a", "one");
    request.actor = "somebody else".into();
    request.comment = "again".into();
    let again = server.try_put(request.clone()).await.unwrap();
    assert!(again.unchanged);
    assert_eq!(again.config.unwrap(), first);
    assert_eq!(
        server.try_get(get("a")).await.unwrap().revision,
        first.revision
    );
    // Anything but the content counts too.
    request.content_type = ContentType::Yaml.into();
    assert!(!server.try_put(request.clone()).await.unwrap().unchanged);
    request.labels.insert("tier".into(), "gold".into());
    assert!(!server.try_put(request.clone()).await.unwrap().unchanged);
    request.description = "why".into();
    assert!(!server.try_put(request.clone()).await.unwrap().unchanged);
    assert!(server.try_put(request).await.unwrap().unchanged);
    assert_eq!(server.version_numbers("a").await, [4, 3, 2, 1]);
    // An empty content is a content.
    assert!(!server.try_put(put("empty", "")).await.unwrap().unchanged);
    assert!(server.try_put(put("empty", "")).await.unwrap().unchanged);
    server.stop().await;
}

async fn deleting_what_is_gone_changes_nothing_and_succeeds(backend: Backend) {
    let server = backend.server().await;
    let never = server.try_delete(delete("never")).await.unwrap();
    assert_eq!((never.deleted, never.version), (false, 0));
    server.put("a", "one").await;
    let mut request = delete("a");
    request.expected_version = Some(1);
    let first = server.try_delete(request.clone()).await.unwrap();
    assert_eq!((first.deleted, first.version), (true, 2));
    // Version 1 is deleted, as was asked for.
    let again = server.try_delete(request.clone()).await.unwrap();
    assert_eq!((again.deleted, again.version), (false, 2));
    request.expected_version = Some(2);
    assert!(!server.try_delete(request.clone()).await.unwrap().deleted);
    request.expected_version = Some(7);
    let stale = server.try_delete(request).await.unwrap_err();
    assert_status(&stale, Code::Aborted, "VERSION_MISMATCH");
    assert_eq!(server.version_numbers("a").await, [2, 1]);
    server.stop().await;
}

async fn concurrent_writers_get_every_version_exactly_once(backend: Backend) {
    const WRITERS: i64 = 12;
    const PUTS: i64 = 5;
    let servers = [backend.server().await, backend.server().await];
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let mut configs = servers[writer as usize % servers.len()].configs();
        writers.spawn(async move {
            let mut made = Vec::new();
            for number in 0..PUTS {
                let request = put("contended", format!("{writer}.{number}"));
                let response = configs.put_config(request).await.unwrap().into_inner();
                assert!(!response.unchanged);
                made.push((
                    response.config.unwrap().version,
                    format!("{writer}.{number}"),
                ));
            }
            made
        });
    }
    let made: BTreeMap<i64, String> = writers.join_all().await.into_iter().flatten().collect();
    let versions: Vec<i64> = made.keys().copied().collect();
    assert_eq!(versions, Vec::from_iter(1..=WRITERS * PUTS));
    let contents: BTreeSet<&String> = made.values().collect();
    assert_eq!(contents.len(), made.len());
    for (version, content) in &made {
        let request = GetConfigVersionRequest {
            key: "contended".into(),
            version: *version,
            ..GetConfigVersionRequest::default()
        };
        let found = servers[0]
            .configs()
            .get_config_version(request)
            .await
            .unwrap();
        assert_eq!(
            found.into_inner().version.unwrap().content,
            content.as_bytes()
        );
    }
    for server in servers {
        server.stop().await;
    }
}

async fn a_replica_that_is_behind_decides_on_what_the_store_says(backend: Backend) {
    let servers = [backend.server().await, backend.server().await];
    for version in 1..=20 {
        let [here, there] = &servers;
        let (here, there) = if version % 2 == 0 {
            (here, there)
        } else {
            (there, here)
        };
        let request = PutConfigRequest {
            expected_version: Some((version - 1) * 2),
            ..put("a", "x")
        };
        let written = here.try_put(request).await.unwrap();
        assert_eq!(written.config.unwrap().version, version * 2 - 1);
        // What is no change here may be one there.
        let written = there.try_put(put("a", "y")).await.unwrap();
        assert!(!written.unchanged);
        assert_eq!(written.config.unwrap().version, version * 2);
    }
    let [here, there] = &servers;
    for _ in 0..10 {
        here.put("b", "x").await;
        assert!(there.try_delete(delete("b")).await.unwrap().deleted);
    }
    for server in servers {
        server.stop().await;
    }
}

async fn a_write_on_one_replica_is_read_linearizably_on_another(backend: Backend) {
    let servers = [backend.server().await, backend.server().await];
    for number in 1..=10 {
        let content = format!("content {number}");
        let written = servers[0].put("a", &content).await;
        let mut request = get("a");
        request.consistency = Consistency::Linearizable.into();
        let found = servers[1].try_get(request).await.unwrap();
        assert_eq!(found.content, content.as_bytes());
        let mut request = get("a");
        request.min_revision = written.revision;
        let found = servers[1].try_get(request).await.unwrap();
        assert_eq!(found.version, number);
        assert_eq!(servers[0].try_get(get("a")).await.unwrap().version, number);
    }
    for server in servers {
        server.stop().await;
    }
}

async fn a_guard_of_a_lock_nobody_holds_refuses_every_change(backend: Backend) {
    let server = backend.server().await;
    server.put("a", "one").await;
    server.put("a", "two").await;
    let guard = Some(Guard {
        lock: "nightly".into(),
        fencing_token: 7,
        ..Guard::default()
    });
    let mut request = put("a", "three");
    request.guard.clone_from(&guard);
    let refused = server.try_put(request.clone()).await.unwrap_err();
    assert_status(&refused, Code::FailedPrecondition, "GUARD_FAILED");
    // Not even what changes nothing is confirmed.
    request.content = "two".into();
    let refused = server.try_put(request).await.unwrap_err();
    assert_status(&refused, Code::FailedPrecondition, "GUARD_FAILED");
    let mut request = delete("a");
    request.guard.clone_from(&guard);
    let refused = server.try_delete(request).await.unwrap_err();
    assert_status(&refused, Code::FailedPrecondition, "GUARD_FAILED");
    let mut request = rollback("a", 1);
    request.guard = guard;
    let refused = server.try_rollback(request).await.unwrap_err();
    assert_status(&refused, Code::FailedPrecondition, "GUARD_FAILED");
    assert_eq!(server.version_numbers("a").await, [2, 1]);
    server.stop().await;
}
