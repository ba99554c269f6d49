//! Sealing, keeping, and forgetting.

use std::{collections::BTreeSet, time::Duration};

use stanchion_client::proto::VerifyAuditRequest;
use tonic::Code;

use super::{SOON, told};
use crate::support::server::{Backend, Server, assert_status, eventually, on_both_stores};

on_both_stores! {
    entries_are_sealed_in_the_order_of_their_revisions,
    the_audit_of_concurrent_writers_is_whole_and_complete,
    old_stretches_are_forgotten_and_the_rest_is_still_whole,
    another_replica_seals_when_the_first_one_is_killed,
}

async fn entries_are_sealed_in_the_order_of_their_revisions(backend: Backend) {
    let server = backend.sealing(SOON).await;
    for number in 0..10 {
        server
            .put_config(&format!("k{}", number % 3), &format!("{number}"))
            .await;
    }
    server.sealed().await;
    let entries = server.entries().await;
    let numbers: Vec<_> = entries.iter().map(|entry| entry.number).collect();
    assert_eq!(numbers, (1..=10).rev().collect::<Vec<_>>());
    assert!(
        entries
            .windows(2)
            .all(|pair| pair[0].revision > pair[1].revision)
    );
    let hashes: BTreeSet<_> = entries.iter().map(|entry| &entry.hash).collect();
    assert_eq!(hashes.len(), 10);
    let verified = server.is_whole().await;
    let tip = verified.tip.unwrap();
    assert_eq!((verified.first_number, tip.number), (1, 10));
    assert_eq!(tip.hash, entries[0].hash);
    server.put_config("k0", "more").await;
    let noted = VerifyAuditRequest {
        noted: Some(tip),
        ..VerifyAuditRequest::default()
    };
    let verified = server.try_verify(noted).await.unwrap();
    assert_eq!(verified.fault, None);
    server.stop().await;
}

async fn the_audit_of_concurrent_writers_is_whole_and_complete(backend: Backend) {
    let servers = [
        backend.sealing(SOON).await,
        backend.sealing(SOON).await,
        backend.sealing(SOON).await,
    ];
    let keys: Vec<_> = (0..4).map(|key| format!("key/{key}")).collect();
    let mut writers = Vec::new();
    for writer in 0..6 {
        let mut configs = servers[writer % 3].configs();
        let keys = keys.clone();
        writers.push(tokio::spawn(async move {
            for number in 0..40 {
                let key = &keys[(writer + number) % keys.len()];
                let request = super::put(key, &format!("{writer} {number}"));
                configs.put_config(request).await.unwrap();
            }
        }));
    }
    let verifier = async {
        while writers.iter().any(|writer| !writer.is_finished()) {
            servers[0].is_whole().await;
        }
    };
    verifier.await;
    for writer in writers {
        writer.await.unwrap();
    }
    for server in &servers {
        server.sealed().await;
        server.current().await;
        let entries = server.entries_by(&Default::default(), 50).await;
        let versions = server.all_versions(&keys).await;
        assert_eq!(versions.len(), 240);
        assert_eq!(told(&entries), versions);
        assert!(
            entries
                .windows(2)
                .all(|pair| pair[0].revision > pair[1].revision)
        );
        assert_eq!(server.is_whole().await.tip.unwrap().number, 240);
    }
    for server in servers {
        server.stop().await;
    }
}

async fn old_stretches_are_forgotten_and_the_rest_is_still_whole(backend: Backend) {
    let mut settings = backend.settings();
    settings.domain.audit_seal_interval = SOON;
    settings.domain.audit_retention = Some(Duration::from_secs(1));
    let server = backend.server_with(settings).await;
    let mut noted = None;
    for number in 0..3 {
        server.put_config("a", &format!("{number}")).await;
        server.sealed().await;
        noted = noted.or(server.is_whole().await.tip);
    }
    let first = eventually("old stretches to go", || async {
        let first = server.is_whole().await.first_number;
        (first == 3).then_some(first)
    });
    assert_eq!(first.await, 3);
    let stays = server.entries().await;
    assert_eq!(stays.len(), 1);
    assert_eq!((stays[0].number, stays[0].version), (3, 3));
    let request = VerifyAuditRequest {
        noted,
        ..VerifyAuditRequest::default()
    };
    let refused = server.try_verify(request).await.unwrap_err();
    assert_status(&refused, Code::FailedPrecondition, "AUDIT_PRUNED");
    // The chain goes on where it was.
    server.put_config("a", "more").await;
    server.sealed().await;
    assert_eq!(server.is_whole().await.tip.unwrap().number, 4);
    server.stop().await;
}

async fn another_replica_seals_when_the_first_one_is_killed(backend: Backend) {
    let mut servers = vec![backend.sealing(SOON).await, backend.sealing(SOON).await];
    for server in &servers {
        eventually("both to know each other", || async {
            (server.current().await.state.replicas.len() == 2).then_some(())
        })
        .await;
    }
    let ids: Vec<_> = servers
        .iter()
        .map(|s| s.app().core.replica.clone())
        .collect();
    let first = |id| stanchion::domain::replica::rank(id, ids.iter(), b"audit") == 0;
    servers[0].put_config("a", "1").await;
    servers[0].sealed().await;
    let sealer = ids.iter().position(first).unwrap();
    // It does not say that it goes.
    let killed: Server = servers.remove(sealer);
    drop(killed);
    let server = servers.remove(0);
    server.put_config("a", "2").await;
    server.sealed().await;
    assert_eq!(server.is_whole().await.tip.unwrap().number, 2);
    server.stop().await;
}
