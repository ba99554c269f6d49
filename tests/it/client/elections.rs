//! Elections stood for and observed through the client.

use std::time::Duration;

use stanchion::store::{Operation, Txn};
use stanchion_client::{
    ChangeOptions, Client, LockLoss,
    proto::{Candidate, CloseSessionRequest, ErrorReason, LockLostCause},
    watch::{Change, UpdateKind},
};

use super::{client, client_with, soon};
use crate::support::server::{Backend, eventually, on_both_stores};

on_both_stores! {
    one_of_two_candidates_leads_until_it_resigns,
    who_stops_standing_leaves_the_candidates,
    a_dropped_leadership_is_given_up,
    a_leader_learns_that_its_session_is_gone,
    a_leader_learns_that_somebody_removed_it,
    a_leader_steps_down_when_no_server_answers_any_more,
    a_write_in_a_term_that_is_over_fails,
    who_observes_is_told_each_leader,
}

async fn standing(client: &Client, count: i32) {
    eventually("the candidates", async || {
        let election = client.election("e").read().await.unwrap();
        (election.candidate_count == count).then_some(())
    })
    .await;
}

async fn one_of_two_candidates_leads_until_it_resigns(backend: Backend) {
    let server = backend.server().await;
    let (one, other) = (client(&[&server]), client(&[&server]));
    let first = one.election("e").candidate("one").campaign().await.unwrap();
    assert!(first.is_leader() && first.leads_for() > Duration::ZERO);
    let election = other.election("e").candidate("other").proclamation("hello");
    let refused = election.try_campaign().await.unwrap_err();
    assert_eq!(refused.reason(), ErrorReason::LedByAnother);
    let waiting = election.campaign_timeout(Duration::from_millis(100));
    let refused = soon("the end of the wait", waiting).await.unwrap_err();
    assert_eq!(refused.reason(), ErrorReason::LedByAnother);

    let (tell, mut told) = tokio::sync::mpsc::channel(64);
    let campaigning = tokio::spawn({
        let election = election.clone().on_place(move |place| {
            // The test may be over by then.
            let _ = tell.try_send((place.position, place.waiters));
        });
        async move { election.campaign().await }
    });
    assert_eq!(soon("its place", told.recv()).await, Some((1, 1)));
    standing(&one, 1).await;
    let term = first.term();
    assert!(first.resign().await.unwrap());
    let second = soon("the election", campaigning).await.unwrap().unwrap();
    assert!(second.term() > term);
    let seen = one.election("e").read().await.unwrap().leader.unwrap();
    assert_eq!(
        (seen.candidate.as_str(), &seen.proclamation[..]),
        ("other", &b"hello"[..])
    );
    let listed = one.elections("").await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].leader.as_ref(), Some(&seen));
}

async fn who_stops_standing_leaves_the_candidates(backend: Backend) {
    let server = backend.server().await;
    let (one, other) = (client(&[&server]), client(&[&server]));
    let _leadership = one.election("e").campaign().await.unwrap();
    let waiting = tokio::spawn(async move { other.election("e").campaign().await });
    standing(&one, 1).await;
    waiting.abort();
    standing(&one, 0).await;
}

async fn a_dropped_leadership_is_given_up(backend: Backend) {
    let server = backend.server().await;
    let (one, other) = (client(&[&server]), client(&[&server]));
    drop(one.election("e").campaign().await.unwrap());
    let election = other.election("e");
    soon("the lead", election.campaign()).await.unwrap();
}

async fn a_leader_learns_that_its_session_is_gone(backend: Backend) {
    let server = backend.server().await;
    let client = client(&[&server]);
    let leadership = client.election("e").campaign().await.unwrap();
    let request = CloseSessionRequest {
        session_id: client.session().await.unwrap().id().to_owned(),
        guard: None,
    };
    server.sessions().close_session(request).await.unwrap();
    let loss = soon("the loss", leadership.lost()).await;
    assert!(
        matches!(loss, LockLoss::Session(_) | LockLoss::Removed(_)),
        "{loss:?}"
    );
    assert!(!leadership.is_leader());
}

async fn a_leader_learns_that_somebody_removed_it(backend: Backend) {
    let server = backend.server().await;
    let client = client(&[&server]);
    let leadership = client.election("e").campaign().await.unwrap();
    // A lock of the same name, and another term, do not concern it.
    let lock = client.lock("e").acquire().await.unwrap();
    assert!(lock.release().await.unwrap());
    let view = server.current().await;
    let leader = view.state.elections[b"default/e".as_slice()]
        .holder()
        .unwrap();
    let key = leader.waiter.key.clone();
    server.write(Txn::new().then(Operation::delete(key))).await;
    assert_eq!(
        soon("the loss", leadership.lost()).await,
        LockLoss::Removed(LockLostCause::Removed)
    );
    assert!(!leadership.is_leader() && leadership.leads_for() == Duration::ZERO);
    let refused = leadership.proclaim("late").await.unwrap_err();
    assert_eq!(refused.reason(), ErrorReason::NotLeader);
}

async fn a_leader_steps_down_when_no_server_answers_any_more(backend: Backend) {
    let server = backend.server().await;
    let client = client_with(&[&server], "", Duration::from_secs(2));
    let leadership = client.election("e").campaign().await.unwrap();
    server.stop().await;
    assert_eq!(leadership.run(async { 7 }).await, Ok(7));
    // Never ends by itself.
    let work = leadership.run(std::future::pending::<()>());
    assert_eq!(soon("the loss", work).await, Err(LockLoss::NotSurelyHeld));
    assert!(!leadership.is_leader());
    assert!(leadership.run(async { 7 }).await.is_err());
}

async fn a_write_in_a_term_that_is_over_fails(backend: Backend) {
    let server = backend.server().await;
    let client = client(&[&server]);
    let leadership = client.election("e").campaign().await.unwrap();
    let options = ChangeOptions {
        guard: Some(leadership.guard()),
        ..ChangeOptions::default()
    };
    let configs = client.config();
    let put = configs.put("a", "1").options(options.clone());
    put.send().await.unwrap();
    assert!(leadership.resign().await.unwrap());
    let put = configs.put("a", "2").options(options);
    let refused = put.send().await.unwrap_err();
    assert_eq!(refused.reason(), ErrorReason::GuardFailed);
}

async fn who_observes_is_told_each_leader(backend: Backend) {
    let (first, second) = (backend.server().await, backend.server().await);
    let (leader, watcher) = (client(&[&second]), client(&[&first, &second]));
    let mut observed = watcher.election("e").observe();
    let mut next = async || {
        let told = async {
            loop {
                match observed.next().await.unwrap().kind {
                    UpdateKind::Current => {}
                    UpdateKind::Snapshot { items, .. } => return items.into_iter().next(),
                    UpdateKind::Delta { changes, .. } => match changes.into_iter().next() {
                        Some(Change::Added(it) | Change::Modified(it)) => return Some(it),
                        _ => return None,
                    },
                }
            }
        };
        soon("another leader", told).await
    };
    assert_eq!(next().await, None);
    let leadership = leader.election("e").campaign().await.unwrap();
    let term = |leader: Option<Candidate>| leader.map(|leader| leader.term);
    assert_eq!(term(next().await), Some(leadership.term()));
    let said = leadership.proclaim("here").await.unwrap();
    assert_eq!(next().await, Some(said));
    // The watch goes on at the other replica.
    first.stop().await;
    assert!(leadership.resign().await.unwrap());
    assert_eq!(next().await, None);
}
