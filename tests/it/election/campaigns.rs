//! Standing for an election.

use std::collections::BTreeMap;

use stanchion_client::proto::{AcquireLockRequest, CloseSessionRequest, ListElectionsRequest};
use tonic::Code;

use super::*;
use crate::support::server::{Backend, assert_status, on_both_stores};

on_both_stores! {
    candidates_lead_in_the_order_in_which_they_came_and_terms_rise,
    who_does_not_wait_is_told_that_another_leads,
    a_request_repeated_on_another_replica_keeps_its_place_and_its_term,
    a_call_cut_off_and_not_repeated_leaves_the_candidates,
    when_the_session_of_a_leader_ends_the_next_one_leads,
    when_the_session_of_a_candidate_ends_it_never_leads,
    what_candidates_tell_is_shown,
    elections_and_locks_share_no_names,
    elections_are_listed_in_pages_and_counted,
    an_election_has_no_more_candidates_than_it_may,
    a_page_holds_no_more_than_an_answer_may,
}

async fn candidates_lead_in_the_order_in_which_they_came_and_terms_rise(backend: Backend) {
    let server = backend.server().await;
    let mut sessions = Vec::new();
    let mut calls = Vec::new();
    for number in 0..4 {
        let session = open(&server).await;
        calls.push(spawn(&server, standing("e", &session, "r")));
        sessions.push(session);
        // The leader is there before those who stand behind it.
        eventually("the candidate", || async {
            let seen = election(&server, "e").await;
            (seen.leader.is_some() && seen.candidates.len() == number).then_some(())
        })
        .await;
    }
    let mut last = 0;
    for (number, (session, call)) in sessions.iter().zip(calls).enumerate() {
        let elected = call.await.unwrap().unwrap();
        assert!(elected.term > last);
        last = elected.term;
        let seen = election(&server, "e").await;
        assert_eq!(seen.leader.as_ref().unwrap().term, elected.term);
        assert_eq!(elected.leader.unwrap().term, elected.term);
        assert_eq!(seen.candidate_count, 3 - i32::try_from(number).unwrap());
        let positions = seen.candidates.iter().map(|candidate| candidate.position);
        assert!(positions.eq(1..=seen.candidate_count));
        assert!(seen.candidates.iter().all(|candidate| !candidate.leads));
        let claim = Claim::Term(elected.term);
        assert!(resign(&server, "e", session, claim).await.unwrap());
    }
    let free = election(&server, "e").await;
    assert_eq!(
        (free.leader, free.candidate_count, free.revision),
        (None, 0, 0)
    );
}

async fn who_does_not_wait_is_told_that_another_leads(backend: Backend) {
    let server = backend.server().await;
    let (first, second) = (open(&server).await, open(&server).await);
    lead(&server, "e", &first, "r").await;
    let refused = campaign(&server, trying("e", &second, "r")).await;
    assert_status(
        &refused.unwrap_err(),
        Code::FailedPrecondition,
        "LED_BY_ANOTHER",
    );
    let wait = Duration::from_millis(200).try_into().unwrap();
    let timed = CampaignRequest {
        wait: Some(Wait::WaitTimeout(wait)),
        ..standing("e", &second, "t")
    };
    let refused = campaign(&server, timed).await.unwrap_err();
    assert_status(&refused, Code::FailedPrecondition, "LED_BY_ANOTHER");
    assert_eq!(election(&server, "e").await.candidate_count, 0);
}

async fn a_request_repeated_on_another_replica_keeps_its_place_and_its_term(backend: Backend) {
    let (server, other) = (backend.server().await, backend.server().await);
    let (first, second) = (open(&server).await, open(&server).await);
    let led = lead(&server, "e", &first, "r").await;
    assert_eq!(lead(&other, "e", &first, "r").await, led);
    let cut = spawn(&server, standing("e", &second, "r"));
    let place = until_standing(&other, "e", 1).await.candidates[0].term;
    cut.abort();
    assert!(cut.await.unwrap_err().is_cancelled());
    let repeated = spawn(&other, standing("e", &second, "r"));
    assert!(
        resign(&server, "e", &first, Claim::Term(led))
            .await
            .unwrap()
    );
    assert_eq!(repeated.await.unwrap().unwrap().term, place);
    assert_eq!(lead(&server, "e", &second, "r").await, place);
}

async fn a_call_cut_off_and_not_repeated_leaves_the_candidates(backend: Backend) {
    let server = backend.server().await;
    let (first, second) = (open(&server).await, open(&server).await);
    lead(&server, "e", &first, "r").await;
    let cut = spawn(&server, standing("e", &second, "r"));
    until_standing(&server, "e", 1).await;
    cut.abort();
    until_standing(&server, "e", 0).await;
}

async fn when_the_session_of_a_leader_ends_the_next_one_leads(backend: Backend) {
    let (server, other) = (backend.server().await, backend.server().await);
    for expires in [true, false] {
        let name = format!("e-{expires}");
        let (first, second) = (open(&server).await, open(&other).await);
        let led = lead(&server, &name, &first, "r").await;
        let waiting = spawn(&other, standing(&name, &second, "r"));
        until_standing(&server, &name, 1).await;
        if expires {
            server.expire(&first).await;
        } else {
            let request = CloseSessionRequest {
                session_id: first,
                ..Default::default()
            };
            server.sessions().close_session(request).await.unwrap();
        }
        assert!(waiting.await.unwrap().unwrap().term > led);
    }
}

async fn when_the_session_of_a_candidate_ends_it_never_leads(backend: Backend) {
    let server = backend.server().await;
    let (first, second, third) = (
        open(&server).await,
        open(&server).await,
        open(&server).await,
    );
    let led = lead(&server, "e", &first, "r").await;
    let gone = spawn(&server, standing("e", &second, "r"));
    until_standing(&server, "e", 1).await;
    let last = spawn(&server, standing("e", &third, "r"));
    let place = until_standing(&server, "e", 2).await.candidates[1].term;
    server.expire(&second).await;
    let told = gone.await.unwrap().unwrap_err();
    assert_status(&told, Code::FailedPrecondition, "LEASE_EXPIRED");
    assert!(
        resign(&server, "e", &first, Claim::Term(led))
            .await
            .unwrap()
    );
    assert_eq!(last.await.unwrap().unwrap().term, place);
}

async fn what_candidates_tell_is_shown(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server).await;
    let metadata = BTreeMap::from([("zone".to_owned(), "b".to_owned())]);
    let request = CampaignRequest {
        candidate: "host-1".into(),
        proclamation: "10.0.0.1:80".into(),
        metadata: metadata.clone(),
        ..trying("e", &session, "r")
    };
    let elected = campaign(&server, request).await.unwrap();
    let leader = election(&server, "e").await.leader.unwrap();
    assert_eq!(elected.leader.as_ref(), Some(&leader));
    assert_eq!(leader.candidate, "host-1");
    assert_eq!(leader.proclamation, "10.0.0.1:80");
    assert_eq!(leader.metadata, metadata);
    assert!(leader.leads && leader.create_time.is_some());
    assert_eq!(elected.header.unwrap().revision, leader.revision);
}

async fn elections_and_locks_share_no_names(backend: Backend) {
    let server = backend.server().await;
    let (first, second) = (open(&server).await, open(&server).await);
    let request = AcquireLockRequest {
        lock: "same".into(),
        session_id: first.clone(),
        request_id: "r".into(),
        ..Default::default()
    };
    let held = server.locks().acquire_lock(request).await.unwrap();
    let held = held.into_inner().fencing_token;
    let led = lead(&server, "same", &second, "r").await;
    let lock = stanchion_client::proto::GetLockRequest {
        lock: "same".into(),
        consistency: Consistency::Linearizable.into(),
        ..Default::default()
    };
    let lock = server.locks().get_lock(lock).await.unwrap().into_inner();
    assert_eq!(lock.lock.unwrap().holder.unwrap().fencing_token, held);
    assert_eq!(election(&server, "same").await.leader.unwrap().term, led);
    assert!(
        !resign(&server, "same", &first, Claim::Term(held))
            .await
            .unwrap()
    );
}

async fn elections_are_listed_in_pages_and_counted(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server).await;
    for number in 0..5 {
        lead(&server, &format!("list-{number}"), &session, "r").await;
    }
    lead(&server, "other", &session, "r").await;
    let mut request = ListElectionsRequest {
        prefix: "list-".into(),
        page_size: 2,
        consistency: Consistency::Linearizable.into(),
        ..Default::default()
    };
    let mut names = Vec::new();
    loop {
        let page = server.elections().list_elections(request.clone()).await;
        let page = page.unwrap().into_inner();
        assert!(page.elections.iter().all(|e| e.leader.is_some()));
        names.extend(page.elections.into_iter().map(|e| e.election));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(names, ["list-0", "list-1", "list-2", "list-3", "list-4"]);
    let request = stanchion_client::proto::GetSessionRequest {
        session_id: session,
        ..Default::default()
    };
    let shown = server.sessions().get_session(request).await.unwrap();
    let shown = shown.into_inner().session.unwrap();
    assert_eq!((shown.election_count, shown.lock_count), (6, 0));
    let request = stanchion_client::proto::GetNamespaceRequest::default();
    let shown = server.operators().get_namespace(request).await.unwrap();
    let shown = shown.into_inner().namespace.unwrap();
    assert_eq!((shown.election_count, shown.lock_count), (6, 0));
}

async fn an_election_has_no_more_candidates_than_it_may(backend: Backend) {
    let mut settings = backend.settings();
    settings.domain.max_waiters = 1;
    let server = backend.server_with(settings).await;
    let session = open(&server).await;
    lead(&server, "e", &session, "a").await;
    let waiting = spawn(&server, standing("e", &session, "b"));
    until_standing(&server, "e", 1).await;
    let refused = campaign(&server, standing("e", &session, "c")).await;
    let refused = refused.unwrap_err();
    assert_status(&refused, Code::ResourceExhausted, "TOO_MANY_WAITERS");
    assert!(refused.message().starts_with("election default/e"));
    assert!(!waiting.is_finished());
}

async fn a_page_holds_no_more_than_an_answer_may(backend: Backend) {
    const ELECTIONS: usize = 600;
    let server = backend.server().await;
    let session = open(&server).await;
    let mut calls = Vec::new();
    for number in 0..ELECTIONS {
        let request = CampaignRequest {
            proclamation: vec![7; 4096].into(),
            metadata: BTreeMap::from([("k".to_owned(), "v".repeat(4000))]),
            ..trying(&format!("e-{number:03}"), &session, "r")
        };
        calls.push(spawn(&server, request));
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let mut request = ListElectionsRequest {
        page_size: 1000,
        consistency: Consistency::Linearizable.into(),
        ..Default::default()
    };
    let mut listed = 0;
    loop {
        let page = server.elections().list_elections(request.clone()).await;
        let page = page.unwrap().into_inner();
        listed += page.elections.len();
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(listed, ELECTIONS);
}
