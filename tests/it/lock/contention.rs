//! Many who want one lock.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::support::server::{Backend, on_both_stores};

on_both_stores! {
    fifty_clients_exclude_each_other_with_rising_tokens_and_without_a_herd,
}

const CLIENTS: usize = 50;

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
