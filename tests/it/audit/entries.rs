//! One entry for each change, and none for anything else.

use sha2::{Digest, Sha256};
use stanchion_client::proto::{
    AuditOperation, CommitConfigsRequest, ConfigChange, ConfigPut, DeleteConfigRequest, Guard,
    PutConfigRequest, RollbackConfigRequest, config_change::Change,
};

use super::{NEVER, put};
use crate::support::server::{Backend, on_both_stores};

on_both_stores! {
    every_change_has_an_entry_that_says_who_what_when_and_from_where,
    what_fails_or_changes_nothing_has_no_entry,
    a_repeated_request_has_one_entry,
    changes_that_happen_together_have_an_entry_each,
}

fn sha256(content: &str) -> String {
    let digest = Sha256::digest(content);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn every_change_has_an_entry_that_says_who_what_when_and_from_where(backend: Backend) {
    let server = backend.sealing(NEVER).await;
    let request = PutConfigRequest {
        actor: "jo".into(),
        comment: "first".into(),
        request_id: "r1".into(),
        ..put("db/host", "one")
    };
    let first = server.configs().put_config(request).await.unwrap();
    let first = first.into_inner().config.unwrap();
    server.put_config("db/host", "two").await;
    let back = RollbackConfigRequest {
        key: "db/host".into(),
        version: 1,
        ..RollbackConfigRequest::default()
    };
    server.configs().rollback_config(back).await.unwrap();
    server.delete_config("db/host").await;
    server.put_config("db/host", "two").await;

    let entries = server.entries().await;
    let (one, two, none) = (sha256("one"), sha256("two"), String::new());
    let found: Vec<_> = entries
        .iter()
        .map(|entry| {
            let (old, new) = (entry.old_sha256.clone(), entry.new_sha256.clone());
            (entry.version, entry.operation(), old, new)
        })
        .collect();
    use AuditOperation::{DeleteConfig, PutConfig, RollbackConfig};
    assert_eq!(
        found,
        [
            (5, PutConfig, none.clone(), two.clone()),
            (4, DeleteConfig, one.clone(), none.clone()),
            (3, RollbackConfig, two.clone(), one.clone()),
            (2, PutConfig, one.clone(), two),
            (1, PutConfig, none, one),
        ]
    );
    let oldest = &entries[4];
    assert_eq!(oldest.namespace, "default");
    assert_eq!(oldest.key, "db/host");
    assert_eq!(oldest.actor, "jo");
    assert_eq!(oldest.principal, "anonymous");
    assert!(oldest.address.starts_with("127.0.0.1:"), "{oldest:?}");
    assert_eq!(oldest.replica, server.app().core.replica.as_str());
    assert_eq!(oldest.comment, "first");
    assert_eq!(oldest.request_id, "r1");
    assert_eq!(oldest.revision, first.revision);
    assert_eq!(oldest.create_time, first.create_time);
    assert_eq!((oldest.number, &oldest.hash[..]), (0, ""));
    assert_eq!(entries[3].request_id, "");
    server.stop().await;
}

async fn what_fails_or_changes_nothing_has_no_entry(backend: Backend) {
    let server = backend.sealing(NEVER).await;
    server.put_config("a", "1").await;
    let refused = [
        PutConfigRequest {
            expected_version: Some(7),
            ..put("a", "2")
        },
        PutConfigRequest {
            guard: Some(Guard {
                lock: "nobody-holds-it".into(),
                fencing_token: 7,
                ..Guard::default()
            }),
            ..put("a", "2")
        },
    ];
    for request in refused {
        server.configs().put_config(request).await.unwrap_err();
    }
    let idle = [
        put("a", "1"),
        PutConfigRequest {
            validate_only: true,
            ..put("a", "2")
        },
    ];
    for request in idle {
        server.configs().put_config(request).await.unwrap();
    }
    let gone = DeleteConfigRequest {
        key: "never-was".into(),
        ..DeleteConfigRequest::default()
    };
    server.configs().delete_config(gone).await.unwrap();
    assert_eq!(server.entries().await.len(), 1);
    assert_eq!(server.is_whole().await.unsealed_count, 1);
    server.stop().await;
}

async fn a_repeated_request_has_one_entry(backend: Backend) {
    let server = backend.sealing(NEVER).await;
    let request = PutConfigRequest {
        request_id: "r1".into(),
        ..put("a", "1")
    };
    for _ in 0..3 {
        let written = server.configs().put_config(request.clone()).await.unwrap();
        assert_eq!(written.into_inner().config.unwrap().version, 1);
    }
    assert_eq!(server.entries().await.len(), 1);
    server.stop().await;
}

async fn changes_that_happen_together_have_an_entry_each(backend: Backend) {
    let server = backend.sealing(NEVER).await;
    let changes = (0..100).map(|number| ConfigChange {
        key: format!("many/{number:02}"),
        change: Some(Change::Put(ConfigPut {
            content: format!("{number}").into(),
            ..ConfigPut::default()
        })),
        ..ConfigChange::default()
    });
    let request = CommitConfigsRequest {
        changes: changes.collect(),
        actor: "jo".into(),
        ..CommitConfigsRequest::default()
    };
    let done = server.configs().commit_configs(request).await.unwrap();
    let done = done.into_inner();
    assert!(done.committed);
    let revision = done.header.unwrap().revision;
    let entries = server.entries().await;
    assert_eq!(entries.len(), 100);
    assert!(entries.iter().all(|entry| entry.revision == revision));
    assert!(entries.iter().all(|entry| entry.actor == "jo"));
    server.is_whole().await;
    server.stop().await;
}
