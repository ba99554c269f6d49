//! Many candidates at once, over several replicas.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use stanchion::domain::session_id::SessionId;
use stanchion_client::proto::EventType;

use super::{observing::Observing, *};
use crate::{
    client::soon,
    support::server::{Backend, on_both_stores},
};

on_both_stores! {
    of_32_candidates_over_three_replicas_one_leads_at_a_time_with_rising_terms,
}

const CANDIDATES: usize = 32;
/// How often each of them leads.
const ROUNDS: usize = 3;

async fn of_32_candidates_over_three_replicas_one_leads_at_a_time_with_rising_terms(
    backend: Backend,
) {
    let servers = [
        backend.server().await,
        backend.server().await,
        backend.server().await,
    ];
    let mut watches = Vec::new();
    for server in &servers {
        let mut observing = Observing::open(server, "e", None).await;
        assert_eq!(observing.snapshot().await, None);
        watches.push(tokio::spawn(observe(observing)));
    }
    let leading = Arc::new(AtomicUsize::new(0));
    let terms = Arc::new(Mutex::new(Vec::new()));
    let mut calls = Vec::new();
    for index in 0..CANDIDATES {
        let session = open(&servers[index % servers.len()]).await;
        let store = servers[0].app().core.store.clone();
        let (leading, terms) = (leading.clone(), terms.clone());
        let clients: Vec<_> = servers.iter().map(Server::elections).collect();
        calls.push(tokio::spawn(async move {
            for round in 0..ROUNDS {
                // Not the same replica each time.
                let mut elections = clients[(index + round) % clients.len()].clone();
                let request = standing("e", &session, &round.to_string());
                let term = elections.campaign(request).await.unwrap().into_inner().term;
                assert_eq!(leading.fetch_add(1, Ordering::SeqCst), 0);
                terms.lock().unwrap().push(term);
                let request = ProclaimRequest {
                    election: "e".into(),
                    session_id: session.clone(),
                    term,
                    proclamation: term.to_string().into(),
                    ..Default::default()
                };
                elections.proclaim(request).await.unwrap();
                assert_eq!(leading.fetch_sub(1, Ordering::SeqCst), 1);
                // The last time some go with their session.
                if round == ROUNDS - 1 && index % 3 == 0 {
                    let lease = SessionId::parse(&session).unwrap().lease();
                    store.revoke(lease).await.unwrap();
                    return;
                }
                let request = ResignRequest {
                    election: "e".into(),
                    session_id: session.clone(),
                    claim: Some(match index % 2 {
                        0 => Claim::Term(term),
                        _ => Claim::RequestId(round.to_string()),
                    }),
                    ..Default::default()
                };
                let answer = elections.resign(request).await.unwrap();
                assert!(answer.into_inner().resigned);
            }
        }));
    }
    for call in calls {
        soon("every candidate to have led", call).await.unwrap();
    }
    let terms = terms.lock().unwrap().clone();
    assert_eq!(terms.len(), CANDIDATES * ROUNDS);
    assert!(terms.is_sorted_by(|a, b| a < b), "{terms:?}");
    for watch in watches {
        let told = soon("the watch to end", watch).await.unwrap();
        assert_eq!(told, terms, "every replica tells the same leaders");
    }
}

/// The terms that are told until everybody has led, each with what its leader proclaims.
async fn observe(mut observing: Observing) -> Vec<i64> {
    let mut terms = Vec::new();
    loop {
        let delta = observing.delta().await;
        assert!(!delta.conflated);
        let event = &delta.events[0];
        let leader = event.leader.as_ref().unwrap();
        match event.r#type() {
            EventType::Deleted => {
                if terms.len() == CANDIDATES * ROUNDS {
                    return terms;
                }
            }
            _ if leader.proclamation.is_empty() => terms.push(leader.term),
            _ => {
                assert_eq!(leader.proclamation, leader.term.to_string());
                assert_eq!(terms.last(), Some(&leader.term));
            }
        }
    }
}
