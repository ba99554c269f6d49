//! Sessions that wait for each other.

use stanchion_client::proto::{FindDeadlocksRequest, FindDeadlocksResponse};

use super::*;
use crate::support::server::{Backend, on_both_stores};

on_both_stores! {
    sessions_that_wait_for_each_other_are_named_with_their_locks,
}

async fn find(server: &Server) -> FindDeadlocksResponse {
    let request = FindDeadlocksRequest {
        consistency: Consistency::Linearizable.into(),
        min_revision: 0,
    };
    let answer = server.locks().find_deadlocks(request).await.unwrap();
    answer.into_inner()
}

async fn sessions_that_wait_for_each_other_are_named_with_their_locks(backend: Backend) {
    let server = backend.server().await;
    let other = backend.server().await;
    let a = open_for(&server, 60, "a").await;
    let b = open_for(&server, 60, "b").await;
    let first = take(&server, "x", &a, "1").await;
    take(&other, "y", &b, "1").await;
    let _a_waits = spawn(&server, wanted("y", &a, "2"));
    until_waiting(&other, "y", 1).await;
    assert!(find(&server).await.deadlocks.is_empty());
    let b_waits = spawn(&other, wanted("x", &b, "2"));
    until_waiting(&server, "x", 1).await;

    let found = find(&server).await;
    assert!(!found.truncated);
    let [ring] = found.deadlocks.as_slice() else {
        panic!("{found:?}");
    };
    let mut waits: Vec<_> = ring
        .waits
        .iter()
        .map(|wait| {
            let (waiter, holder) = (wait.waiter.as_ref(), wait.holder.as_ref());
            let (waiter, holder) = (waiter.unwrap(), holder.unwrap());
            assert!(waiter.session_revision > 0);
            (&*waiter.client_id, &*wait.lock, &*holder.client_id)
        })
        .collect();
    waits.sort_unstable();
    assert_eq!(waits, [("a", "y", "b"), ("b", "x", "a")]);

    // Taking one of the locks undoes it.
    assert!(force(&server, "x", first).await.released);
    b_waits.await.unwrap().unwrap();
    assert!(find(&server).await.deadlocks.is_empty());
}
