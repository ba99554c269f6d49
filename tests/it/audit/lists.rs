//! Looking entries up.

use std::time::SystemTime;

use stanchion_client::proto::{
    AuditOperation, AuditPosition, ListAuditEntriesRequest, PutConfigRequest, VerifyAuditRequest,
};
use tonic::Code;

use super::{NEVER, SOON, put, told};
use crate::support::server::{Backend, assert_invalid, assert_status, on_both_stores};

on_both_stores! {
    entries_are_found_by_key_prefix_actor_operation_and_time,
    pages_show_every_entry_once_while_entries_are_sealed,
    a_request_that_makes_no_sense_is_refused,
}

async fn entries_are_found_by_key_prefix_actor_operation_and_time(backend: Backend) {
    let server = backend.sealing(SOON).await;
    let by_jo = PutConfigRequest {
        actor: "jo".into(),
        ..put("db/host", "1")
    };
    server.configs().put_config(by_jo).await.unwrap();
    server.put_config("db/port", "1").await;
    server.put_config("dbx", "1").await;
    server.sealed().await;
    let between = SystemTime::now();
    server.delete_config("db/host").await;

    let found = async |filter: ListAuditEntriesRequest| {
        let entries = server.entries_by(&filter, 2).await;
        let keys = entries.into_iter().map(|entry| entry.key);
        keys.collect::<Vec<_>>()
    };
    let all = ListAuditEntriesRequest::default;
    let key = "db/host".to_owned();
    assert_eq!(
        found(ListAuditEntriesRequest { key, ..all() }).await,
        ["db/host", "db/host"]
    );
    let prefix = "db/".to_owned();
    assert_eq!(
        found(ListAuditEntriesRequest { prefix, ..all() }).await,
        ["db/host", "db/port", "db/host"]
    );
    let actor = "jo".to_owned();
    assert_eq!(
        found(ListAuditEntriesRequest { actor, ..all() }).await,
        ["db/host"]
    );
    let operations = vec![AuditOperation::DeleteConfig.into()];
    let deletions = ListAuditEntriesRequest {
        operations,
        ..all()
    };
    assert_eq!(found(deletions).await, ["db/host"]);
    let since = Some(between.into());
    assert_eq!(
        found(ListAuditEntriesRequest { since, ..all() }).await,
        ["db/host"]
    );
    let until = Some(between.into());
    assert_eq!(
        found(ListAuditEntriesRequest { until, ..all() }).await,
        ["dbx", "db/port", "db/host"]
    );
    let namespace = "nobody-knows-it".to_owned();
    let none: [&str; 0] = [];
    assert_eq!(
        found(ListAuditEntriesRequest { namespace, ..all() }).await,
        none
    );
    server.stop().await;
}

async fn pages_show_every_entry_once_while_entries_are_sealed(backend: Backend) {
    let server = backend.sealing(NEVER).await;
    for number in 0..30 {
        server
            .put_config(&format!("k{}", number % 3), &format!("{number}"))
            .await;
    }
    let first = ListAuditEntriesRequest {
        page_size: 7,
        ..ListAuditEntriesRequest::default()
    };
    let page = server.try_list(first.clone()).await.unwrap();
    let mut entries = page.entries;
    assert_eq!(entries.len(), 7);
    // All of them are sealed before the next page, and there are newer ones.
    let sealer = backend.sealing(SOON).await;
    drop(server);
    sealer.sealed().await;
    sealer.put_config("k0", "new").await;
    let mut page_token = page.next_page_token;
    while !page_token.is_empty() {
        let request = ListAuditEntriesRequest {
            page_token,
            ..first.clone()
        };
        let page = sealer.try_list(request).await.unwrap();
        assert!(page.entries.len() <= 7);
        entries.extend(page.entries);
        page_token = page.next_page_token;
    }
    assert_eq!(entries.len(), 30);
    assert!(
        entries
            .windows(2)
            .all(|pair| pair[0].revision > pair[1].revision)
    );
    let keys = ["k0", "k1", "k2"].map(str::to_owned);
    let mut versions = sealer.all_versions(&keys).await;
    let newest = versions.iter().map(|(_, _, revision)| *revision).max();
    versions.retain(|(_, _, revision)| Some(*revision) != newest);
    assert_eq!(told(&entries), versions);
    sealer.stop().await;
}

async fn a_request_that_makes_no_sense_is_refused(backend: Backend) {
    let server = backend.sealing(NEVER).await;
    for number in 0..3 {
        server.put_config("a", &format!("{number}")).await;
    }
    let list = ListAuditEntriesRequest {
        page_size: 1,
        ..ListAuditEntriesRequest::default()
    };
    let page = server.try_list(list.clone()).await.unwrap();
    let other = ListAuditEntriesRequest {
        actor: "jo".into(),
        page_token: page.next_page_token,
        ..list.clone()
    };
    let refused = server.try_list(other).await.unwrap_err();
    assert_status(&refused, Code::InvalidArgument, "INVALID_PAGE_TOKEN");
    let refused = server
        .try_list(ListAuditEntriesRequest {
            operations: vec![AuditOperation::PutConfig.into(), 77],
            ..list.clone()
        })
        .await;
    assert_invalid(&refused.unwrap_err(), "operations[1]");
    let refused = server
        .try_list(ListAuditEntriesRequest {
            prefix: "x".repeat(513),
            ..list.clone()
        })
        .await;
    assert_invalid(&refused.unwrap_err(), "prefix");
    let refused = server
        .try_verify(VerifyAuditRequest {
            noted: Some(AuditPosition {
                number: 1,
                hash: "no hash".into(),
            }),
            ..VerifyAuditRequest::default()
        })
        .await;
    assert_invalid(&refused.unwrap_err(), "noted.hash");
    server.stop().await;
}
