//! What leaders proclaim.

use tonic::Code;

use super::*;
use crate::support::server::{Backend, assert_status, on_both_stores};

on_both_stores! {
    what_a_leader_proclaims_is_what_everybody_sees,
    nobody_but_the_leader_proclaims,
    a_former_leader_is_refused_on_every_replica,
    a_proclamation_goes_with_the_session,
    a_repeated_campaign_leaves_the_proclamation_as_it_is,
}

async fn what_a_leader_proclaims_is_what_everybody_sees(backend: Backend) {
    let (server, other) = (backend.server().await, backend.server().await);
    let session = open(&server).await;
    let term = lead(&server, "e", &session, "r").await;
    let elected = election(&server, "e").await.leader.unwrap();
    let said = proclaim(&server, "e", &session, term, "one").await.unwrap();
    assert_eq!((said.term, &said.proclamation[..]), (term, &b"one"[..]));
    assert!(said.revision > elected.revision);
    assert_eq!(election(&other, "e").await.leader.as_ref(), Some(&said));
    // The same again, on a replica that may not have heard of it.
    let again = proclaim(&other, "e", &session, term, "one").await.unwrap();
    assert_eq!(again, said);
    let unsaid = proclaim(&other, "e", &session, term, "").await.unwrap();
    assert!(unsaid.proclamation.is_empty() && unsaid.revision > said.revision);
    assert_eq!(election(&server, "e").await.leader, Some(unsaid));
}

async fn nobody_but_the_leader_proclaims(backend: Backend) {
    let server = backend.server().await;
    let (first, second) = (open(&server).await, open(&server).await);
    let term = lead(&server, "e", &first, "r").await;
    let _waiting = spawn(&server, standing("e", &second, "r"));
    let waiting = until_standing(&server, "e", 1).await.candidates[0].term;
    for (session, term) in [
        (&second, waiting),
        (&second, term),
        (&first, waiting),
        (&first, term + 1),
        (&first, 1),
    ] {
        let refused = proclaim(&server, "e", session, term, "no").await;
        assert_status(
            &refused.unwrap_err(),
            Code::FailedPrecondition,
            "NOT_LEADER",
        );
    }
    let refused = proclaim(&server, "nobody", &first, term, "no").await;
    assert_status(
        &refused.unwrap_err(),
        Code::FailedPrecondition,
        "NOT_LEADER",
    );
    let seen = election(&server, "e").await;
    assert!(seen.leader.unwrap().proclamation.is_empty());
    assert!(seen.candidates[0].proclamation.is_empty());
}

async fn a_former_leader_is_refused_on_every_replica(backend: Backend) {
    let (server, other) = (backend.server().await, backend.server().await);
    let (first, second) = (open(&server).await, open(&server).await);
    let former = lead(&server, "e", &first, "r").await;
    let next = spawn(&other, standing("e", &second, "r"));
    until_standing(&server, "e", 1).await;
    server.expire(&first).await;
    let next = next.await.unwrap().unwrap().term;
    for server in [&server, &other] {
        let late = proclaim(server, "e", &first, former, "late").await;
        assert_status(&late.unwrap_err(), Code::FailedPrecondition, "NOT_LEADER");
        proclaim(server, "e", &second, next, "new").await.unwrap();
    }
    let leader = election(&other, "e").await.leader.unwrap();
    assert_eq!(leader.proclamation, "new");
}

async fn a_proclamation_goes_with_the_session(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server).await;
    let term = lead(&server, "e", &session, "r").await;
    proclaim(&server, "e", &session, term, "here")
        .await
        .unwrap();
    server.expire(&session).await;
    eventually("nobody to lead", || async {
        let election = election(&server, "e").await;
        election.leader.is_none().then_some(())
    })
    .await;
}

async fn a_repeated_campaign_leaves_the_proclamation_as_it_is(backend: Backend) {
    let (server, other) = (backend.server().await, backend.server().await);
    let session = open(&server).await;
    let first = CampaignRequest {
        proclamation: "first".into(),
        ..trying("e", &session, "r")
    };
    let term = campaign(&server, first.clone()).await.unwrap().term;
    proclaim(&server, "e", &session, term, "second")
        .await
        .unwrap();
    let repeated = campaign(&other, first).await.unwrap();
    assert_eq!(repeated.term, term);
    assert_eq!(repeated.leader.unwrap().proclamation, "second");
    let leader = election(&server, "e").await.leader.unwrap();
    assert_eq!(leader.proclamation, "second");
}
