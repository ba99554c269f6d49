//! Giving up the lead, or the place as a candidate.

use tonic::Code;

use super::*;
use crate::support::server::{Backend, assert_status, on_both_stores};

on_both_stores! {
    who_resigned_resigns_again_and_nothing_changes,
    who_resigns_by_request_leaves_wherever_it_stands,
    a_campaign_that_resigned_before_it_arrived_is_refused,
    nobody_resigns_for_another_session,
}

async fn who_resigned_resigns_again_and_nothing_changes(backend: Backend) {
    let (server, other) = (backend.server().await, backend.server().await);
    let session = open(&server).await;
    let term = lead(&server, "e", &session, "r").await;
    assert!(
        resign(&other, "e", &session, Claim::Term(term))
            .await
            .unwrap()
    );
    assert!(
        !resign(&server, "e", &session, Claim::Term(term))
            .await
            .unwrap()
    );
    let next = lead(&server, "e", &session, "s").await;
    assert!(next > term);
    assert!(
        !resign(&server, "e", &session, Claim::Term(term))
            .await
            .unwrap()
    );
    assert_eq!(election(&server, "e").await.leader.unwrap().term, next);
}

async fn who_resigns_by_request_leaves_wherever_it_stands(backend: Backend) {
    let server = backend.server().await;
    let (first, second) = (open(&server).await, open(&server).await);
    lead(&server, "e", &first, "r").await;
    let waiting = spawn(&server, standing("e", &second, "w"));
    until_standing(&server, "e", 1).await;
    let claim = Claim::RequestId("w".into());
    assert!(resign(&server, "e", &second, claim.clone()).await.unwrap());
    let ended = waiting.await.unwrap().unwrap_err();
    assert_status(&ended, Code::FailedPrecondition, "REQUEST_UNDONE");
    assert!(!resign(&server, "e", &second, claim).await.unwrap());
    let claim = Claim::RequestId("r".into());
    assert!(resign(&server, "e", &first, claim).await.unwrap());
    assert!(election(&server, "e").await.leader.is_none());
}

async fn a_campaign_that_resigned_before_it_arrived_is_refused(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server).await;
    let claim = Claim::RequestId("late".into());
    assert!(!resign(&server, "e", &session, claim).await.unwrap());
    let late = campaign(&server, standing("e", &session, "late")).await;
    assert_status(
        &late.unwrap_err(),
        Code::FailedPrecondition,
        "REQUEST_UNDONE",
    );
    lead(&server, "e", &session, "other").await;
}

async fn nobody_resigns_for_another_session(backend: Backend) {
    let server = backend.server().await;
    let (first, second) = (open(&server).await, open(&server).await);
    let term = lead(&server, "e", &first, "r").await;
    let refused = resign(&server, "e", &second, Claim::Term(term)).await;
    assert_status(
        &refused.unwrap_err(),
        Code::FailedPrecondition,
        "NOT_LEADER",
    );
    assert_eq!(election(&server, "e").await.leader.unwrap().term, term);
}
