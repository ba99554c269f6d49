//! Many at one key, on three replicas.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use stanchion_client::proto::PutConfigRequest;
use tonic::Code;

use super::{
    follower::{Follower, prefix},
    put,
};
use crate::support::server::{Backend, Server, assert_status, on_both_stores};

on_both_stores! {
    one_of_many_wins_each_version,
    a_watcher_that_changes_replicas_all_the_time_sees_each_version_once,
}

const ROUNDS: i64 = 10;
const WRITERS: usize = 9;

async fn one_of_many_wins_each_version(backend: Backend) {
    let servers = three(&backend).await;
    let mut won = BTreeMap::new();
    for expected in 0..ROUNDS {
        let tries = (0..WRITERS).map(|writer| {
            let mut configs = servers[writer % servers.len()].configs();
            let request = PutConfigRequest {
                expected_version: Some(expected),
                actor: format!("writer-{writer}"),
                ..put("contended", format!("{expected}.{writer}"))
            };
            async move { configs.put_config(request).await }
        });
        for (writer, tried) in join_all(tries).await.into_iter().enumerate() {
            match tried {
                Ok(answer) => {
                    let config = answer.into_inner().config.unwrap();
                    assert_eq!(config.version, expected + 1);
                    let before = won.insert(config.version, writer);
                    assert_eq!(before, None, "two made version {}", config.version);
                }
                Err(status) => assert_status(&status, Code::Aborted, "VERSION_MISMATCH"),
            }
        }
        assert!(won.contains_key(&(expected + 1)), "nobody won {expected}");
    }
    let versions = servers[0].versions("contended").await;
    let authors: BTreeMap<i64, usize> = versions
        .iter()
        .map(|version| {
            let (_, writer) = version.author.split_once('-').unwrap();
            (version.version, writer.parse().unwrap())
        })
        .collect();
    assert_eq!(authors, won);
    for server in servers {
        server.stop().await;
    }
}

async fn a_watcher_that_changes_replicas_all_the_time_sees_each_version_once(backend: Backend) {
    const VERSIONS: i64 = 60;
    let servers = three(&backend).await;
    let mut follower = Follower::start(&servers[0], prefix("moving/")).await;
    let mut writers: Vec<_> = servers.iter().map(Server::configs).collect();
    let writing = tokio::spawn(async move {
        for number in 1..=VERSIONS {
            let at = usize::try_from(number).unwrap() % writers.len();
            let request = put("moving/a", number.to_string());
            writers[at].put_config(request).await.unwrap();
        }
    });
    let mut seen = Vec::new();
    for number in 1.. {
        // Two messages here, and the rest elsewhere.
        for _ in 0..2 {
            let delta = follower.step().await;
            assert!(delta.as_ref().is_none_or(|delta| !delta.conflated));
            let events = delta.into_iter().flat_map(|delta| delta.events);
            seen.extend(events.map(|event| event.config.unwrap().version));
            if seen.last() == Some(&VERSIONS) {
                break;
            }
        }
        if seen.last() == Some(&VERSIONS) {
            break;
        }
        assert!(follower.resets.is_empty());
        let (token, known) = follower.leave();
        let next = &servers[number % servers.len()];
        follower = Follower::resume(next, prefix("moving/"), &token, known).await;
    }
    writing.await.unwrap();
    assert_eq!(seen, Vec::from_iter(1..=VERSIONS));
    for server in servers {
        server.stop().await;
    }
}

async fn three(backend: &Backend) -> [Server; 3] {
    [
        backend.server().await,
        backend.server().await,
        backend.server().await,
    ]
}
