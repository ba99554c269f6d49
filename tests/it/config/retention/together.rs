//! Versions that are forgotten while others write and pin.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;
use tonic::Code;

use super::pin;
use crate::{
    config::delete,
    support::server::{Backend, Server, assert_status, on_both_stores},
};

on_both_stores! {
    three_replicas_forget_while_others_write_and_pin,
    a_config_that_is_deleted_again_and_again_never_has_a_version_twice,
}

/// Three replicas, of which any may believe that it is its turn.
async fn replicas(backend: &Backend) -> [Server; 3] {
    let mut settings = backend.forgetting();
    settings.domain.config_keep_age = Some(Duration::ZERO);
    settings.domain.config_keep_deleted = Some(Duration::ZERO);
    settings.domain.config_prune_interval = Duration::from_millis(5);
    [
        backend.server_with(settings.clone()).await,
        backend.server_with(settings.clone()).await,
        backend.server_with(settings).await,
    ]
}

async fn three_replicas_forget_while_others_write_and_pin(backend: Backend) {
    const EACH: usize = 40;
    let servers = replicas(&backend).await;
    let pinned = join_all(servers.iter().enumerate().map(async |(at, server)| {
        let mut pinned = Vec::new();
        for number in 0..EACH {
            let written = server.put("a", format!("{at} {number}")).await;
            if number % 4 > 0 {
                continue;
            }
            // It may be too late by now.
            match server.try_pin(pin("a", written.version)).await {
                Ok(_) => pinned.push(written.version),
                Err(late) => assert_status(&late, Code::NotFound, "CONFIG_VERSION_NOT_FOUND"),
            }
        }
        pinned
    }));
    let pinned: BTreeSet<i64> = pinned.await.into_iter().flatten().collect();
    assert!(!pinned.is_empty());
    let newest = i64::try_from(3 * EACH).unwrap();
    let mut kept = pinned.clone();
    kept.extend(newest - 2..=newest);
    servers[0].keeps("a", kept.into_iter().rev()).await;
    servers[0].audit_is_whole().await;
    for server in servers {
        server.stop().await;
    }
}

/// Its history begins anew whenever it went whole; meanwhile it counts on.
async fn a_config_that_is_deleted_again_and_again_never_has_a_version_twice(backend: Backend) {
    let servers = replicas(&backend).await;
    let write = async |server: &Server| {
        let mut written = Vec::new();
        for number in 0..30 {
            let config = server.put("a", format!("{number}")).await;
            written.push((config.revision, config.version));
            if number % 3 == 0 {
                let gone = server.try_delete(delete("a")).await.unwrap();
                if gone.deleted {
                    written.push((gone.header.unwrap().revision, gone.version));
                }
            }
        }
        written
    };
    let written = tokio::join!(write(&servers[0]), write(&servers[1]));
    // What one wrote was perhaps the other's version already, unchanged.
    let written: BTreeSet<(i64, i64)> = [written.0, written.1].concat().into_iter().collect();
    let versions: Vec<i64> = written.into_iter().map(|(_, version)| version).collect();
    assert_eq!(versions[0], 1);
    for pair in versions.windows(2) {
        assert!(pair[1] == pair[0] + 1 || pair[1] == 1, "{versions:?}");
    }
    servers[2].audit_is_whole().await;
    for server in servers {
        server.stop().await;
    }
}
