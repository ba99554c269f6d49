//! Schemas over what changes together, and over what is written while they are put.

use std::sync::atomic::{AtomicBool, Ordering};

use stanchion_client::proto::{
    CommitConfigsRequest, ConfigChange, ConfigFromDraft, ConfigPut, ConfigRollback, Consistency,
    ContentType, GetConfigVersionRequest, ListReleasesRequest, PublishReleaseRequest,
    PutDraftRequest, RollbackReleaseRequest, config_change::Change, put_draft_request,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{INTEGER, json, key, prefix, violations};
use crate::{
    config::{change, content, delete},
    support::server::{Backend, Server, assert_status, eventually, on_both_stores},
};

on_both_stores! {
    a_commit_is_refused_for_the_one_content_that_breaks_a_schema,
    a_release_with_one_bad_key_changes_nothing_and_names_it,
    a_draft_may_be_unfinished_until_it_is_published,
    a_hundred_configs_are_changed_at_once_under_schemas,
    a_release_is_not_rolled_back_to_what_breaks_a_schema_by_now,
    no_content_passes_a_schema_that_was_put_before_it,
}

fn write(json: &str) -> Change {
    Change::Put(ConfigPut {
        content_type: ContentType::Json.into(),
        ..content(json)
    })
}

/// Which field is at fault, and of which key its content is.
fn fault(refused: &Status, code: Code, reason: &str) -> (String, String) {
    assert_status(refused, code, reason);
    let details = refused.get_details_bad_request().unwrap();
    let info = refused.get_details_error_info().unwrap();
    (
        details.field_violations[0].field.clone(),
        info.metadata["key"].clone(),
    )
}

impl Server {
    async fn change_all(&self, changes: Vec<ConfigChange>) -> Result<bool, Status> {
        let request = CommitConfigsRequest {
            changes,
            ..CommitConfigsRequest::default()
        };
        let answer = self.configs().commit_configs(request).await?;
        Ok(answer.into_inner().committed)
    }

    async fn try_release(&self, name: &str, changes: Vec<ConfigChange>) -> Result<(), Status> {
        let request = PublishReleaseRequest {
            name: name.into(),
            changes,
            ..PublishReleaseRequest::default()
        };
        self.configs().publish_release(request).await.map(drop)
    }
}

async fn a_commit_is_refused_for_the_one_content_that_breaks_a_schema(backend: Backend) {
    let server = backend.server().await;
    server.try_put(json("c", "null")).await.unwrap();
    server.put_schema(prefix(""), INTEGER).await;
    server.try_delete(delete("c")).await.unwrap();
    let back = Change::Rollback(ConfigRollback { version: 1 });
    for (name, second, code, reason, field) in [
        (
            "b",
            write("\"x\""),
            Code::FailedPrecondition,
            "SCHEMA_VIOLATED",
            "changes[1].put.content",
        ),
        (
            "b",
            write("{"),
            Code::InvalidArgument,
            "CONTENT_MALFORMED",
            "changes[1].put.content",
        ),
        (
            "c",
            back,
            Code::FailedPrecondition,
            "SCHEMA_VIOLATED",
            "changes[1].rollback.version",
        ),
    ] {
        let changes = vec![change("a", write("1")), change(name, second)];
        let refused = server.change_all(changes).await.unwrap_err();
        let told = fault(&refused, code, reason);
        assert_eq!(told, (field.into(), name.into()));
    }
    assert!(server.versions("a").await.is_empty());
    let changes = vec![change("a", write("1")), change("b", write("2"))];
    assert!(server.change_all(changes).await.unwrap());
    server.stop().await;
}

async fn a_release_with_one_bad_key_changes_nothing_and_names_it(backend: Backend) {
    let server = backend.server().await;
    server.put_schema(key("db/port"), INTEGER).await;
    let bad = vec![
        change("db/host", write("\"h\"")),
        change("db/port", write("\"x\"")),
    ];
    let refused = server.try_release("r1", bad.clone()).await.unwrap_err();
    let told = fault(&refused, Code::FailedPrecondition, "SCHEMA_VIOLATED");
    assert_eq!(told, ("changes[1].put.content".into(), "db/port".into()));
    let only_asked = PublishReleaseRequest {
        name: "r1".into(),
        changes: bad,
        validate_only: true,
        ..PublishReleaseRequest::default()
    };
    let refused = server.configs().publish_release(only_asked).await;
    fault(
        &refused.unwrap_err(),
        Code::FailedPrecondition,
        "SCHEMA_VIOLATED",
    );
    assert!(server.versions("db/host").await.is_empty());
    let releases = ListReleasesRequest::default();
    let releases = server.configs().list_releases(releases).await.unwrap();
    assert!(releases.into_inner().releases.is_empty());
    // The name is still free.
    let good = vec![
        change("db/host", write("\"h\"")),
        change("db/port", write("1")),
    ];
    server.try_release("r1", good).await.unwrap();
    server.stop().await;
}

async fn a_draft_may_be_unfinished_until_it_is_published(backend: Backend) {
    let server = backend.server().await;
    server.put_schema(prefix("db/"), INTEGER).await;
    for (content, code, reason) in [
        ("{", Code::InvalidArgument, "CONTENT_MALFORMED"),
        ("\"x\"", Code::FailedPrecondition, "SCHEMA_VIOLATED"),
    ] {
        let draft = PutDraftRequest {
            key: "db/port".into(),
            change: Some(put_draft_request::Change::Put(ConfigPut {
                content: content.into(),
                content_type: ContentType::Json.into(),
                ..ConfigPut::default()
            })),
            ..PutDraftRequest::default()
        };
        server.configs().put_draft(draft).await.unwrap();
        let taken = change("db/port", Change::Draft(ConfigFromDraft::default()));
        let refused = server.try_release("r", vec![taken]).await.unwrap_err();
        let told = fault(&refused, code, reason);
        assert_eq!(told, ("changes[0].draft".into(), "db/port".into()));
    }
    server.stop().await;
}

async fn a_hundred_configs_are_changed_at_once_under_schemas(backend: Backend) {
    let server = backend.server().await;
    server.put_schema(prefix(""), INTEGER).await;
    server.put_schema(prefix("k"), r#"{"minimum": 0}"#).await;
    let all = |content: &str| -> Vec<ConfigChange> {
        let names = (0..100).map(|number| format!("k{number:02}"));
        names.map(|name| change(&name, write(content))).collect()
    };
    assert!(server.change_all(all("1")).await.unwrap());
    server.try_release("all", all("2")).await.unwrap();
    let mut one_bad = all("3");
    one_bad[99] = change("k99", write("-1"));
    let refused = server.change_all(one_bad).await.unwrap_err();
    let told = fault(&refused, Code::FailedPrecondition, "SCHEMA_VIOLATED");
    assert_eq!(told, ("changes[99].put.content".into(), "k99".into()));
    assert_eq!(server.version_numbers("k00").await, [2, 1]);
    server.stop().await;
}

async fn a_release_is_not_rolled_back_to_what_breaks_a_schema_by_now(backend: Backend) {
    let server = backend.server().await;
    server.try_put(json("a", "\"text\"")).await.unwrap();
    let publish = vec![change("a", write("1"))];
    server.try_release("r", publish).await.unwrap();
    server.put_schema(key("a"), INTEGER).await;
    let request = RollbackReleaseRequest {
        name: "r".into(),
        ..RollbackReleaseRequest::default()
    };
    let refused = server.configs().rollback_release(request).await;
    let (_, named) = fault(
        &refused.unwrap_err(),
        Code::FailedPrecondition,
        "SCHEMA_VIOLATED",
    );
    assert_eq!(named, "a");
    assert_eq!(server.version_numbers("a").await, [2, 1]);
    server.stop().await;
}

/// Two replicas write what only sometimes satisfies the schema that a third one puts meanwhile.
async fn no_content_passes_a_schema_that_was_put_before_it(backend: Backend) {
    let [one, two, three] = [
        backend.server().await,
        backend.server().await,
        backend.server().await,
    ];
    let over = AtomicBool::new(false);
    let write = async |server: &Server| {
        for number in 0.. {
            if over.load(Ordering::SeqCst) {
                break;
            }
            for content in [format!("{number}"), format!("\"{number}\"")] {
                if let Err(refused) = server.try_put(json("a", &content)).await {
                    violations(&refused);
                }
            }
        }
    };
    let rule = async {
        let mut rules = Vec::new();
        for number in 0..10 {
            let schema = match number % 2 {
                0 => r#"{"type": "integer"}"#,
                _ => r#"{"type": "string"}"#,
            };
            rules.push((
                three.put_schema(prefix(""), schema).await.revision,
                number % 2 == 0,
            ));
            // Some writes under each.
            let before = three.versions("a").await.len();
            eventually("another version", async || {
                (three.versions("a").await.len() > before).then_some(())
            })
            .await;
        }
        over.store(true, Ordering::SeqCst);
        rules
    };
    let (_, _, rules) = tokio::join!(write(&one), write(&two), rule);
    one.current().await;
    for version in one.versions("a").await {
        let request = GetConfigVersionRequest {
            key: "a".into(),
            version: version.version,
            consistency: Consistency::Linearizable.into(),
            ..GetConfigVersionRequest::default()
        };
        let version = one.configs().get_config_version(request).await.unwrap();
        let version = version.into_inner().version.unwrap();
        let rule = rules
            .iter()
            .rev()
            .find(|(since, _)| *since < version.revision);
        if let Some((since, integer)) = rule {
            let number = !version.content.starts_with(b"\"");
            assert_eq!(number, *integer, "{version:?} under the schema of {since}");
        }
    }
    for server in [one, two, three] {
        server.stop().await;
    }
}
