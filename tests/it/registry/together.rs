//! Many registrations at once, which go to the store together.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::join_all;
use stanchion::{
    clock::SystemClock,
    store::{Error, Operation, Outcome, Store, Txn, TxnResponse},
};
use stanchion_client::proto::{
    ListSessionsRequest, RegisterInstanceRequest, RegisterInstanceResponse,
    register_instance_request::Liveness,
};
use tonic::{Code, Status};

use crate::support::{
    overlay::{Overlaid, Overlay},
    server::{Backend, Server, assert_status, on_both_stores},
};

use super::{ALL, ids, instance, register, seconds};

on_both_stores! {
    each_is_answered_for_itself_and_every_session_is_listed_once,
    a_group_whose_answer_was_lost_has_happened_once,
    a_group_that_the_store_refuses_is_carried_out_one_by_one,
    while_the_store_is_away_nobody_waits_for_the_failure_of_others,
}

/// Groups are carried out.
const GOOD: u8 = 0;
/// Groups are carried out, and their answers are lost.
const ANSWER_LOST: u8 = 1;
/// Groups are refused, as for one member whose lease is gone.
const REFUSED: u8 = 2;
/// Nothing about instances reaches the store, which takes a second to be found out each time.
const AWAY: u8 = 3;

/// How many register at once.
const MANY: usize = 60;

/// Slow enough that registrations have to wait for each other.
struct Slow {
    inner: Arc<dyn Store>,
    state: AtomicU8,
    groups: AtomicUsize,
}

// === impl Slow ===

impl Slow {
    async fn server(backend: &Backend, fault: u8) -> (Arc<Overlaid<Self>>, Server) {
        let store = Arc::new(Overlaid(Self {
            inner: backend.store().await,
            state: AtomicU8::new(GOOD),
            groups: AtomicUsize::new(0),
        }));
        let server = backend
            .server_on(store.clone(), backend.settings(), Arc::new(SystemClock))
            .await;
        store.state.store(fault, Ordering::SeqCst);
        (store, server)
    }
}

#[async_trait]
impl Overlay for Slow {
    fn inner(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, Error> {
        if !format!("{txn:?}").contains("/state/reg/") {
            return self.inner.txn(txn).await;
        }
        let state = self.state.load(Ordering::SeqCst);
        if state == AWAY {
            tokio::time::sleep(Duration::from_secs(1)).await;
            return Err(Error::Unavailable {
                message: "away".into(),
                outcome: Outcome::NotDone,
            });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        let nested = |step: &&Operation| matches!(step, Operation::Txn(_));
        if txn.success.iter().filter(nested).count() < 2 {
            return self.inner.txn(txn).await;
        }
        self.groups.fetch_add(1, Ordering::SeqCst);
        match state {
            ANSWER_LOST => {
                self.inner.txn(txn).await?;
                Err(Error::Timeout {
                    outcome: Outcome::Unknown,
                })
            }
            REFUSED => Err(Error::LeaseNotFound),
            _ => self.inner.txn(txn).await,
        }
    }
}

/// Registers so many at once, each with a session of its own.
async fn storm(server: &Server, many: usize) -> Vec<Result<RegisterInstanceResponse, Status>> {
    let one = |number: usize| {
        let request = RegisterInstanceRequest {
            instance: Some(instance(&format!("i{number:03}"))),
            liveness: Some(Liveness::Ttl(seconds(120))),
            request_id: format!("r{number}"),
            client_id: format!("c{number}"),
            ..RegisterInstanceRequest::default()
        };
        register(server, request)
    };
    join_all((0..many).map(one)).await
}

/// Checks that all are registered, each on a session of its own, and nothing else is.
async fn all_are_there(
    server: &Server,
    answers: Vec<Result<RegisterInstanceResponse, Status>>,
) -> BTreeSet<String> {
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    for (number, answer) in answers.iter().enumerate() {
        let instance = answer.instance.as_ref().unwrap();
        assert_eq!(instance.instance_id, format!("i{number:03}"));
        // A repeat finds the record at a later revision.
        assert!(answer.header.as_ref().unwrap().revision >= instance.revision);
        assert!(answer.valid_for.is_some());
    }
    let sessions: BTreeSet<_> = answers.into_iter().map(|a| a.session_id).collect();
    assert_eq!(sessions.len(), MANY);
    assert_eq!(ids(server, ALL).await.len(), MANY);
    sessions
}

async fn each_is_answered_for_itself_and_every_session_is_listed_once(backend: Backend) {
    let (store, server) = Slow::server(&backend, GOOD).await;
    let answers = storm(&server, MANY).await;
    all_are_there(&server, answers).await;
    assert!(
        store.groups.load(Ordering::SeqCst) > 0,
        "nobody went together"
    );

    // Sessions of a group share a revision, and a page may end between them.
    let mut listed = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListSessionsRequest {
            page_size: 7,
            page_token,
            ..ListSessionsRequest::default()
        };
        let page = server.sessions().list_sessions(request).await;
        let page = page.unwrap().into_inner();
        listed.extend(page.sessions.into_iter().map(|s| s.client_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(listed.len(), MANY);
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>().len(), MANY);
    server.stop().await;
}

async fn a_group_whose_answer_was_lost_has_happened_once(backend: Backend) {
    faulty_storm(&backend, ANSWER_LOST).await;
}

async fn a_group_that_the_store_refuses_is_carried_out_one_by_one(backend: Backend) {
    faulty_storm(&backend, REFUSED).await;
}

async fn faulty_storm(backend: &Backend, fault: u8) {
    let (store, server) = Slow::server(backend, fault).await;
    let answers = storm(&server, MANY).await;
    let sessions = all_are_there(&server, answers).await;
    assert!(
        store.groups.load(Ordering::SeqCst) > 0,
        "nobody went together"
    );
    // The repeat of each finds what the first one did.
    store.state.store(GOOD, Ordering::SeqCst);
    let again = storm(&server, MANY).await;
    assert_eq!(all_are_there(&server, again).await, sessions);
    server.stop().await;
}

async fn while_the_store_is_away_nobody_waits_for_the_failure_of_others(backend: Backend) {
    let (_, server) = Slow::server(&backend, AWAY).await;
    let one = |number: usize| {
        let request = RegisterInstanceRequest {
            instance: Some(instance(&format!("i{number}"))),
            liveness: Some(Liveness::Persistent(true)),
            ..RegisterInstanceRequest::default()
        };
        register(&server, request)
    };
    // One failure after the other would take longer than a call may.
    for answer in join_all((0..600).map(one)).await {
        let status = answer.unwrap_err();
        assert_status(&status, Code::Unavailable, "STORE_UNAVAILABLE");
    }
    server.stop().await;
}
