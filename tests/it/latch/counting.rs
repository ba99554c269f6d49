//! Creating latches and counting them down.

use std::sync::Arc;

use stanchion::{
    clock::SystemClock,
    store::{Error, Outcome, Store, Txn, TxnResponse},
};
use stanchion_client::proto::{Guard, ListLatchesRequest};
use tonic::Code;

use super::*;
use crate::{
    lock,
    support::{
        overlay::{Overlaid, Overlay},
        server::{Backend, assert_status, on_both_stores},
    },
};

on_both_stores! {
    a_latch_opens_when_so_many_different_parties_have_counted,
    the_same_latch_is_created_once_and_another_count_is_refused,
    parties_that_count_at_once_all_count_and_cost_one_write_each,
    what_was_counted_is_told_though_the_answer_was_lost,
    a_guard_decides_whether_a_latch_is_changed,
    latches_are_listed_by_name_in_pages,
    a_namespace_has_only_so_many_latches_and_is_not_empty_with_one,
}

async fn a_latch_opens_when_so_many_different_parties_have_counted(backend: Backend) {
    let (server, other) = (backend.server().await, backend.server().await);
    let created = create(&server, latch("ready", 2)).await.unwrap();
    assert!(created.created);
    let made = created.latch.unwrap();
    assert_eq!((made.count, made.remaining, made.open), (2, 2, false));
    assert_eq!(made.lifetime.unwrap().seconds, 24 * 3600);

    let first = count(&other, "ready", "a").await.unwrap();
    assert_eq!(
        (first.counted, first.remaining, first.open),
        (true, 1, false)
    );
    let again = count(&server, "ready", "a").await.unwrap();
    assert_eq!(
        (again.counted, again.remaining, again.open),
        (false, 1, false)
    );
    let second = count(&server, "ready", "b").await.unwrap();
    assert_eq!(
        (second.counted, second.remaining, second.open),
        (true, 0, true)
    );
    let opened = get(&other, "ready").await.unwrap();
    assert!(opened.open && opened.create_revision > 0);
    assert_eq!(opened.revision, second.header.unwrap().revision);
    let parties: Vec<_> = opened.arrivals.iter().map(|a| a.party.as_str()).collect();
    assert_eq!(parties, ["a", "b"]);
    assert!(opened.arrivals.iter().all(|a| a.create_time.is_some()));

    // Who comes late is no error, and leaves nothing.
    let late = count(&other, "ready", "c").await.unwrap();
    assert_eq!((late.counted, late.remaining, late.open), (false, 0, true));
    assert_eq!(get(&server, "ready").await.unwrap(), opened);
    let unknown = count(&server, "other", "a").await.unwrap_err();
    assert_status(&unknown, Code::NotFound, "LATCH_NOT_FOUND");
}

async fn the_same_latch_is_created_once_and_another_count_is_refused(backend: Backend) {
    let (server, other) = (backend.server().await, backend.server().await);
    let request = CreateLatchRequest {
        request_id: "r".into(),
        actor: "ops".into(),
        lifetime: Some(Duration::from_secs(3600).try_into().unwrap()),
        ..latch("ready", 2)
    };
    let created = create(&server, request.clone()).await.unwrap();
    assert!(created.created);
    let again = create(&other, request.clone()).await.unwrap();
    assert!(again.created, "the request that created it");
    assert_eq!(again.latch, created.latch);
    let found = create(&other, latch("ready", 2)).await.unwrap();
    assert!(!found.created);
    let found = found.latch.unwrap();
    assert_eq!(
        (&*found.actor, found.lifetime.unwrap().seconds),
        ("ops", 3600)
    );
    for server in [&server, &other] {
        let refused = create(server, latch("ready", 3)).await.unwrap_err();
        assert_status(&refused, Code::AlreadyExists, "LATCH_DIFFERS");
        assert!(refused.message().contains("count 2"), "{refused:?}");
    }
    // Of many who create it at once one does.
    let creating = (0..20).map(|at| {
        let server = [&server, &other][at % 2];
        create(server, latch("race", 1))
    });
    let created = futures_util::future::join_all(creating).await;
    let created = created.into_iter().filter(|c| c.as_ref().unwrap().created);
    assert_eq!(created.count(), 1);
}

async fn parties_that_count_at_once_all_count_and_cost_one_write_each(backend: Backend) {
    const PARTIES: usize = 60;
    let store = lock::Counting::about(backend.store().await, "/state/latch/");
    let clock = Arc::new(SystemClock);
    let server = backend
        .server_on(store.clone(), backend.settings(), clock)
        .await;
    create(&server, latch("ready", PARTIES.try_into().unwrap()))
        .await
        .unwrap();
    let waiting: Vec<_> = (0..40).map(|_| spawn(&server, wanted("ready"))).collect();
    store.take();
    let counting = (0..PARTIES).map(|party| {
        let mut barriers = server.barriers();
        let request = CountDownLatchRequest {
            latch: "ready".into(),
            party: party.to_string(),
            ..CountDownLatchRequest::default()
        };
        async move { barriers.count_down_latch(request).await }
    });
    let counted = futures_util::future::join_all(counting).await;
    assert!(counted.into_iter().all(|c| c.unwrap().into_inner().counted));
    for waiting in waiting {
        waiting.await.unwrap().unwrap();
    }
    assert_eq!(get(&server, "ready").await.unwrap().arrivals.len(), PARTIES);
    // Nothing for those who wait.
    assert_eq!(store.take().len(), PARTIES);
}

/// Loses the answer to whatever puts something below a latch.
struct Deaf(Arc<dyn Store>, std::sync::atomic::AtomicBool);

#[async_trait::async_trait]
impl Overlay for Deaf {
    fn inner(&self) -> &Arc<dyn Store> {
        &self.0
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, Error> {
        let about = format!("{:?}", txn.success).contains("/state/latch/");
        let answer = self.0.txn(txn).await?;
        match about && self.1.swap(false, std::sync::atomic::Ordering::SeqCst) {
            true => Err(Error::Timeout {
                outcome: Outcome::Unknown,
            }),
            false => Ok(answer),
        }
    }
}

async fn what_was_counted_is_told_though_the_answer_was_lost(backend: Backend) {
    let deaf = std::sync::atomic::AtomicBool::new(true);
    let store = Arc::new(Overlaid(Deaf(backend.store().await, deaf)));
    let clock = Arc::new(SystemClock);
    let server = backend
        .server_on(store.clone(), backend.settings(), clock)
        .await;
    let lose = || store.1.store(true, std::sync::atomic::Ordering::SeqCst);
    let lost = || !store.1.load(std::sync::atomic::Ordering::SeqCst);
    let created = create(&server, latch("ready", 2)).await.unwrap();
    assert!(lost() && created.created);
    lose();
    let counted = count(&server, "ready", "a").await.unwrap();
    assert!(lost() && counted.counted);
    assert_eq!(counted.remaining, 1);
    lose();
    assert!(delete(&server, "ready").await.is_ok());
    assert!(lost());
    let gone = get(&server, "ready").await.unwrap_err();
    assert_status(&gone, Code::NotFound, "LATCH_NOT_FOUND");
}

async fn a_guard_decides_whether_a_latch_is_changed(backend: Backend) {
    let server = backend.server().await;
    let session = lock::open(&server).await;
    let token = lock::take(&server, "g", &session, "r").await;
    let guard = |fencing_token| {
        Some(Guard {
            lock: "g".into(),
            fencing_token,
            ..Guard::default()
        })
    };
    for (token, passes) in [(token + 1, false), (token, true)] {
        let failed = |status: Status| {
            assert!(!passes, "{status:?}");
            assert_status(&status, Code::FailedPrecondition, "GUARD_FAILED");
        };
        let request = CreateLatchRequest {
            guard: guard(token),
            ..latch("ready", 2)
        };
        match create(&server, request).await {
            Ok(created) => assert!(passes && created.created),
            Err(status) => failed(status),
        }
        create(&server, latch("there", 1)).await.unwrap();
        let request = CountDownLatchRequest {
            latch: "there".into(),
            party: "a".into(),
            guard: guard(token),
            ..CountDownLatchRequest::default()
        };
        match server.barriers().count_down_latch(request).await {
            Ok(counted) => assert!(passes && counted.into_inner().counted),
            Err(status) => failed(status),
        }
        let request = DeleteLatchRequest {
            latch: "there".into(),
            guard: guard(token),
            ..DeleteLatchRequest::default()
        };
        match server.barriers().delete_latch(request).await {
            Ok(deleted) => assert!(passes && deleted.into_inner().deleted),
            Err(status) => failed(status),
        }
    }
}

async fn latches_are_listed_by_name_in_pages(backend: Backend) {
    let server = backend.server().await;
    for name in ["job-2", "job-1", "job-1.b", "other"] {
        create(&server, latch(name, 2)).await.unwrap();
    }
    count(&server, "job-1", "a").await.unwrap();
    let mut request = ListLatchesRequest {
        prefix: "job-".into(),
        page_size: 2,
        ..ListLatchesRequest::default()
    };
    let mut found = Vec::new();
    loop {
        let page = server.barriers().list_latches(request.clone()).await;
        let page = page.unwrap().into_inner();
        assert!(page.header.is_some() && page.latches.len() <= 2);
        for latch in page.latches {
            assert!(latch.arrivals.is_empty());
            found.push((latch.latch, latch.remaining));
        }
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let named = |name: &str, remaining| (name.to_owned(), remaining);
    assert_eq!(
        found,
        [named("job-1", 1), named("job-1.b", 2), named("job-2", 2)]
    );
    request.prefix = "other".into();
    let foreign = server.barriers().list_latches(request).await.unwrap_err();
    assert_status(&foreign, Code::InvalidArgument, "INVALID_PAGE_TOKEN");
}

async fn a_namespace_has_only_so_many_latches_and_is_not_empty_with_one(backend: Backend) {
    use stanchion_client::proto::{
        DeleteNamespaceRequest, GetNamespaceRequest, NamespaceSettings, PutNamespaceRequest,
    };
    let mut settings = backend.settings();
    settings.domain.max_latches = 2;
    let server = backend.server_with(settings).await;
    let within = |name: &str| CreateLatchRequest {
        namespace: "shop".into(),
        ..latch(name, 1)
    };
    for name in ["a", "b", "a"] {
        create(&server, within(name)).await.unwrap();
    }
    let refused = create(&server, within("c")).await.unwrap_err();
    assert_status(&refused, Code::ResourceExhausted, "TOO_MANY_LATCHES");
    create(&server, latch("c", 1)).await.unwrap();

    let put = PutNamespaceRequest {
        namespace: "shop".into(),
        settings: Some(NamespaceSettings::default()),
        ..PutNamespaceRequest::default()
    };
    server.operators().put_namespace(put).await.unwrap();
    let get = GetNamespaceRequest {
        namespace: "shop".into(),
        ..GetNamespaceRequest::default()
    };
    let seen = server.operators().get_namespace(get).await.unwrap();
    assert_eq!(seen.into_inner().namespace.unwrap().latch_count, 2);
    let give_up = DeleteNamespaceRequest {
        namespace: "shop".into(),
        ..DeleteNamespaceRequest::default()
    };
    let refused = server.operators().delete_namespace(give_up.clone()).await;
    let refused = refused.unwrap_err();
    assert_status(&refused, Code::FailedPrecondition, "NAMESPACE_NOT_EMPTY");
    assert!(refused.message().contains("2 latches"), "{refused:?}");
    for name in ["a", "b"] {
        let request = DeleteLatchRequest {
            namespace: "shop".into(),
            latch: name.into(),
            ..DeleteLatchRequest::default()
        };
        server.barriers().delete_latch(request).await.unwrap();
    }
    let deleted = server.operators().delete_namespace(give_up).await;
    assert!(deleted.unwrap().into_inner().deleted);
}
