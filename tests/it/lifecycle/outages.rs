//! etcd goes away and comes back under a server with open streams.

use std::time::{Duration, Instant};

use stanchion_client::proto::Consistency;
use tokio::time::timeout;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::support::{
    etcd::Etcd,
    server::{Backend, assert_status, eventually},
    store::PATIENCE,
    traffic::{Session, get, health, put, watch},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_outlive_a_restart_of_etcd_without_gap_or_repetition() {
    let mut etcd = Etcd::start().await;
    let backend = Backend::on(etcd.endpoints(), ());
    let mut settings = backend.settings();
    settings.domain.commit_timeout = Duration::from_millis(300);
    settings.rpc.store_silence = Duration::from_secs(1);
    let server = backend.server_with(settings).await;
    let watching = watch(&server, "last").await;
    let session = Session::open(&server).await;

    let mut written = Vec::new();
    for number in 0..5 {
        written.push(put(&server, &format!("before-{number}")).await.unwrap());
    }
    assert_eq!(health(&server, "/write").await, ServingStatus::Serving);

    etcd.kill(0);
    eventually("writes to be refused", || async {
        let status = put(&server, "meanwhile").await.unwrap_err();
        // The first ones may have been on the way.
        let sure = status.code() == Code::Unavailable;
        sure.then(|| assert_status(&status, Code::Unavailable, "STORE_UNAVAILABLE"))
    })
    .await;
    let begun = Instant::now();
    put(&server, "meanwhile").await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(3), "refused slowly");
    let linearizable = get(&server, "before-0", Consistency::Linearizable)
        .await
        .unwrap_err();
    assert_eq!(linearizable.code(), Code::Unavailable, "{linearizable:?}");

    // Reads go on, and say how old they are.
    let first = get(&server, "before-0", Consistency::Cached).await.unwrap();
    eventually("the age to grow", || async {
        let age = get(&server, "before-0", Consistency::Cached).await.unwrap();
        (age > first + Duration::from_millis(200)).then_some(())
    })
    .await;
    eventually("writes to be reported as NOT_SERVING", || async {
        (health(&server, "/write").await == ServingStatus::NotServing).then_some(())
    })
    .await;
    assert_eq!(health(&server, "/read").await, ServingStatus::Serving);
    assert_eq!(health(&server, "").await, ServingStatus::Serving);

    etcd.restart(0).await;
    eventually("writes to succeed again", || async {
        put(&server, "again").await.ok()
    })
    .await;
    eventually("writes to be reported as SERVING", || async {
        (health(&server, "/write").await == ServingStatus::Serving).then_some(())
    })
    .await;
    for number in 0..5 {
        written.push(put(&server, &format!("after-{number}")).await.unwrap());
    }
    put(&server, "last").await.unwrap();

    let seen = timeout(PATIENCE, watching).await.unwrap().unwrap();
    let mut sorted = seen.clone();
    sorted.dedup();
    assert_eq!(seen, sorted, "told twice");
    for revision in written {
        assert!(seen.contains(&revision), "{revision} is not in {seen:?}");
    }
    session.lives_on(&server).await;
}
