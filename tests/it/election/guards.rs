//! Mutations that are bound to leading an election.

use stanchion_client::proto::{Guard, PutConfigRequest};
use tonic::Code;

use super::*;
use crate::support::server::{Backend, assert_invalid, assert_status, on_both_stores};

on_both_stores! {
    only_the_leader_writes_under_its_term,
    a_guard_names_one_thing,
}

async fn put(server: &Server, guard: Guard) -> Result<(), Status> {
    let request = PutConfigRequest {
        key: "guarded".into(),
        content: format!("{:016x}", rand::random::<u64>()).into(),
        guard: Some(guard),
        ..Default::default()
    };
    server.configs().put_config(request).await.map(|_| ())
}

fn led(election: &str, term: i64) -> Guard {
    Guard {
        election: election.into(),
        fencing_token: term,
        ..Default::default()
    }
}

async fn only_the_leader_writes_under_its_term(backend: Backend) {
    let (server, other) = (backend.server().await, backend.server().await);
    let (first, second) = (open(&server).await, open(&server).await);
    let term = lead(&server, "e", &first, "r").await;
    let waiting = spawn(&server, standing("e", &second, "r"));
    let next = until_standing(&server, "e", 1).await.candidates[0].term;
    let lock = Guard {
        lock: "e".into(),
        fencing_token: term,
        ..Default::default()
    };
    for server in [&server, &other] {
        put(server, led("e", term)).await.unwrap();
        proclaim(server, "e", &first, term, "does not end the term")
            .await
            .unwrap();
        for guard in [led("e", next), led("f", term), lock.clone()] {
            let refused = put(server, guard).await.unwrap_err();
            assert_status(&refused, Code::FailedPrecondition, "GUARD_FAILED");
        }
    }
    assert!(
        resign(&server, "e", &first, Claim::Term(term))
            .await
            .unwrap()
    );
    assert_eq!(waiting.await.unwrap().unwrap().term, next);
    for server in [&server, &other] {
        put(server, led("e", next)).await.unwrap();
        let late = put(server, led("e", term)).await.unwrap_err();
        assert_status(&late, Code::FailedPrecondition, "GUARD_FAILED");
    }
    // One election can depend on another.
    let guarded = |guard| CampaignRequest {
        guard: Some(guard),
        ..trying("dependent", &first, "r")
    };
    let refused = campaign(&server, guarded(led("e", term))).await;
    assert_status(
        &refused.unwrap_err(),
        Code::FailedPrecondition,
        "GUARD_FAILED",
    );
    campaign(&server, guarded(led("e", next))).await.unwrap();
}

async fn a_guard_names_one_thing(backend: Backend) {
    let server = backend.server().await;
    let both = Guard {
        lock: "l".into(),
        ..led("e", 1)
    };
    assert_invalid(&put(&server, both).await.unwrap_err(), "guard.election");
    let neither = led("", 1);
    assert_invalid(&put(&server, neither).await.unwrap_err(), "guard.lock");
    let malformed = led("no/name", 1);
    assert_invalid(
        &put(&server, malformed).await.unwrap_err(),
        "guard.election",
    );
    let negative = led("e", -1);
    assert_invalid(
        &put(&server, negative).await.unwrap_err(),
        "guard.fencing_token",
    );
}
