//! Mutations that are bound to a lock.

use stanchion_client::proto::Guard;
use tonic::Code;

use super::*;
use crate::support::server::{Backend, assert_status, on_both_stores};

on_both_stores! {
    a_guarded_mutation_works_while_the_lock_is_held_and_at_no_other_time,
}

fn guard(lock: &str, fencing_token: i64) -> Option<Guard> {
    Some(Guard {
        lock: lock.into(),
        fencing_token,
        ..Default::default()
    })
}

async fn a_guarded_mutation_works_while_the_lock_is_held_and_at_no_other_time(backend: Backend) {
    let server = backend.server().await;
    let other = backend.server().await;
    let (first, second) = (open(&server).await, open(&server).await);
    let held = take(&server, "g", &first, "r").await;
    let waiting = spawn(&server, wanted("g", &second, "r"));
    let queued = until_waiting(&other, "g", 1).await.waiters[0].fencing_token;
    for server in [&server, &other] {
        mutate(server, guard("g", held), Ok(())).await;
        for token in [
            queued,
            held + 1,
            held - 1,
            held & ((1 << 40) - 1),
            1,
            i64::MAX,
        ] {
            mutate(server, guard("g", token), Err(())).await;
        }
        // A token of another lock.
        mutate(server, guard("h", held), Err(())).await;
    }
    assert!(release_token(&server, "g", &first, held).await);
    assert_eq!(waiting.await.unwrap().unwrap().fencing_token, queued);
    for server in [&server, &other] {
        mutate(server, guard("g", held), Err(())).await;
        mutate(server, guard("g", queued), Ok(())).await;
    }
    close(&server, &second).await;
    mutate(&other, guard("g", queued), Err(())).await;
}

/// Makes every kind of mutation under the guard.
async fn mutate(server: &Server, guard: Option<Guard>, expected: Result<(), ()>) {
    #[track_caller]
    fn check<T>(what: &str, answer: Result<T, Status>, expected: Result<(), ()>) -> Option<T> {
        match (answer, expected) {
            (Ok(answer), Ok(())) => return Some(answer),
            (Err(status), Err(())) => {
                assert_status(&status, Code::FailedPrecondition, "GUARD_FAILED");
            }
            (Ok(_), Err(())) => panic!("{what} passed"),
            (Err(status), Ok(())) => panic!("{what}: {status:?}"),
        }
        None
    }

    let session = open(server).await;
    let name = format!("{:016x}", rand::random::<u64>());
    // Sessions.
    let request = OpenSessionRequest {
        guard: guard.clone(),
        ..Default::default()
    };
    let opened = server.sessions().open_session(request).await;
    let opened = check("open", opened, expected);
    let request = CloseSessionRequest {
        session_id: match opened {
            Some(opened) => opened.into_inner().session_id,
            None => open(server).await,
        },
        guard: guard.clone(),
    };
    let closed = server.sessions().close_session(request).await;
    check("close", closed, expected);
    // Locks.
    for request in [
        tried(&name, &session, "a"),
        wanted(&format!("{name}.2"), &session, "b"),
    ] {
        let request = AcquireLockRequest {
            guard: guard.clone(),
            ..request
        };
        check("acquire", acquire(server, request).await, expected);
    }
    let token = take(server, &format!("{name}.3"), &session, "c").await;
    let request = ReleaseLockRequest {
        lock: format!("{name}.3"),
        session_id: session.clone(),
        claim: Some(Claim::FencingToken(token)),
        guard: guard.clone(),
        ..Default::default()
    };
    let released = server.locks().release_lock(request).await;
    check("release", released, expected);
    let there = lock(server, &format!("{name}.3")).await.holder.is_some();
    assert_eq!(there, expected.is_err());
    let waiting = lock(server, &name).await.holder.is_some();
    assert_eq!(waiting, expected.is_ok());
    close(server, &session).await;
}
