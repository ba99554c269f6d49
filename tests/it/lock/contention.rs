//! Many who want one lock.

use std::sync::atomic::{AtomicUsize, Ordering};

use stanchion_client::proto::{GetConfigRequest, Guard, PutConfigRequest};

use super::*;
use crate::support::server::{Backend, on_both_stores};

on_both_stores! {
    fifty_clients_exclude_each_other_with_rising_tokens_and_without_a_herd,
    clients_of_several_locks_share_transactions_and_no_lock_shares_a_token,
    clients_of_two_replicas_exclude_each_other_by_token,
}

const CLIENTS: usize = 50;
const LOCKS: [&str; 5] = ["a", "b", "c", "d", "e"];
/// How often each of those who count holds the lock.
const ROUNDS: usize = 4;

async fn fifty_clients_exclude_each_other_with_rising_tokens_and_without_a_herd(backend: Backend) {
    let store = Counting::new(backend.store().await);
    let clock = Arc::new(stanchion::clock::SystemClock);
    let server = backend
        .server_on(store.clone(), backend.settings(), clock)
        .await;
    let mut sessions = Vec::new();
    for _ in 0..CLIENTS {
        sessions.push(open(&server).await);
    }
    store.take();
    let inside = Arc::new(AtomicUsize::new(0));
    let tokens = Arc::new(Mutex::new(Vec::new()));
    let calls: Vec<_> = sessions
        .into_iter()
        .map(|session| {
            let (inside, tokens) = (inside.clone(), tokens.clone());
            let mut locks = server.locks();
            tokio::spawn(async move {
                let granted = locks.acquire_lock(wanted("l", &session, "r")).await;
                let fencing_token = granted.unwrap().into_inner().fencing_token;
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                tokens.lock().unwrap().push(fencing_token);
                tokio::task::yield_now().await;
                assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1);
                let request = ReleaseLockRequest {
                    lock: "l".into(),
                    session_id: session,
                    claim: Some(Claim::FencingToken(fencing_token)),
                    ..Default::default()
                };
                let released = locks.release_lock(request).await.unwrap();
                assert!(released.into_inner().released);
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    let tokens = tokens.lock().unwrap().clone();
    assert_eq!(tokens.len(), CLIENTS);
    assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
    // One to queue, one to release; nothing for those who are woken.
    assert_eq!(store.take().len(), 2 * CLIENTS);
}

async fn clients_of_several_locks_share_transactions_and_no_lock_shares_a_token(backend: Backend) {
    let store = Counting::new(backend.store().await);
    let clock = Arc::new(stanchion::clock::SystemClock);
    let server = backend
        .server_on(store.clone(), backend.settings(), clock)
        .await;
    let mut sessions = Vec::new();
    for _ in 0..CLIENTS {
        sessions.push(open(&server).await);
    }
    store.take();
    let granted = Arc::new(Mutex::new(Vec::new()));
    let calls: Vec<_> = sessions
        .into_iter()
        .zip(LOCKS.iter().cycle())
        .map(|(session, name)| {
            let (granted, mut locks) = (granted.clone(), server.locks());
            tokio::spawn(async move {
                for round in 0..ROUNDS {
                    let request = wanted(name, &session, &round.to_string());
                    let acquired = locks.acquire_lock(request).await.unwrap().into_inner();
                    let token = acquired.fencing_token;
                    granted.lock().unwrap().push((name, token));
                    let request = ReleaseLockRequest {
                        lock: (*name).into(),
                        session_id: session.clone(),
                        claim: Some(Claim::FencingToken(token)),
                        ..Default::default()
                    };
                    let released = locks.release_lock(request).await.unwrap();
                    assert!(released.into_inner().released);
                }
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    let granted = granted.lock().unwrap().clone();
    assert_eq!(granted.len(), CLIENTS * ROUNDS);
    for name in LOCKS {
        let of_one = granted.iter().filter(|(of, _)| **of == name);
        let tokens: Vec<_> = of_one.map(|(_, token)| token).collect();
        assert!(tokens.is_sorted_by(|a, b| a < b), "{name}: {tokens:?}");
    }
    let transactions = store.take().len();
    assert!(transactions < 2 * CLIENTS * ROUNDS, "{transactions}");
}

/// A counter without any protection but the lock: read, then written under the token.
async fn clients_of_two_replicas_exclude_each_other_by_token(backend: Backend) {
    let servers = [backend.server().await, backend.server().await];
    let tokens = Arc::new(Mutex::new(Vec::new()));
    let mut calls = Vec::new();
    for index in 0..CLIENTS {
        let server = &servers[index % servers.len()];
        let session = open(server).await;
        let tokens = tokens.clone();
        let (mut locks, mut configs) = (server.locks(), server.configs());
        calls.push(tokio::spawn(async move {
            for round in 0..ROUNDS {
                let request = wanted("l", &session, &round.to_string());
                let granted = locks.acquire_lock(request).await.unwrap().into_inner();
                let fencing_token = granted.fencing_token;
                tokens.lock().unwrap().push(fencing_token);
                let request = GetConfigRequest {
                    key: "counter".into(),
                    consistency: Consistency::Linearizable.into(),
                    ..Default::default()
                };
                let counter = match configs.get_config(request).await {
                    Ok(answer) => number(&answer.into_inner().config.unwrap().content),
                    Err(status) => {
                        assert_eq!(status.code(), tonic::Code::NotFound, "{status:?}");
                        0
                    }
                };
                let request = PutConfigRequest {
                    key: "counter".into(),
                    content: (counter + 1).to_string().into(),
                    guard: Some(Guard {
                        lock: "l".into(),
                        fencing_token,
                        ..Default::default()
                    }),
                    ..Default::default()
                };
                configs.put_config(request).await.unwrap();
                let request = ReleaseLockRequest {
                    lock: "l".into(),
                    session_id: session.clone(),
                    claim: Some(Claim::FencingToken(fencing_token)),
                    ..Default::default()
                };
                let released = locks.release_lock(request).await.unwrap();
                assert!(released.into_inner().released);
            }
        }));
    }
    for call in calls {
        call.await.unwrap();
    }
    let tokens = tokens.lock().unwrap().clone();
    assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
    let request = GetConfigRequest {
        key: "counter".into(),
        consistency: Consistency::Linearizable.into(),
        ..Default::default()
    };
    let counter = servers[0].configs().get_config(request).await.unwrap();
    let counter = counter.into_inner().config.unwrap();
    assert_eq!(number(&counter.content), CLIENTS * ROUNDS);
    assert_eq!(counter.version, i64::try_from(CLIENTS * ROUNDS).unwrap());
}

fn number(content: &[u8]) -> usize {
    std::str::from_utf8(content).unwrap().parse().unwrap()
}
