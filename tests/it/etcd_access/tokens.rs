//! Tokens that end while they are needed.

use std::time::Duration;

use stanchion_client::proto::Consistency;
use tempfile::NamedTempFile;
use tokio::time::{sleep, timeout};

use super::{open, put_again, saw_all, serve, users::Guarded};
use crate::support::{
    etcd::{Launch, PASSWORD, USER},
    store::PATIENCE,
    traffic::{Session, get, put, watch},
};

/// Tokens end after two seconds in which nobody uses them.
fn short_lived(size: usize) -> Launch {
    Launch {
        flags: vec!["--auth-token-ttl=2".to_owned()],
        ..Launch::of(size)
    }
}

/// Tokens end after two seconds, used or not, and with every change of the users.
fn ending_in_use(key: &NamedTempFile, size: usize) -> Launch {
    let token = format!(
        "--auth-token=jwt,sign-method=HS256,ttl=2s,priv-key={}",
        key.path().display()
    );
    Launch {
        flags: vec![token],
        ..Launch::of(size)
    }
}

fn key() -> NamedTempFile {
    let key = NamedTempFile::new().unwrap();
    std::fs::write(key.path(), "what only this etcd knows").unwrap();
    key
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_end_idle_on_any_member_are_replaced_without_a_failed_call() {
    let guarded = Guarded::start(short_lived(3)).await;
    let server = serve(&guarded.etcd, |settings| {
        guarded.access()(settings);
        // Quiet between the calls, so that the tokens do end.
        settings.etcd.probe_interval = Duration::from_secs(20);
        settings.cache.idle_probe = Duration::from_secs(20);
        settings.rpc.store_silence = Duration::from_secs(60);
        settings.domain.removal_hold = Duration::from_secs(60);
    })
    .await;
    let watching = watch(&server, "last").await;
    let before = guarded.tokens_asked_of_all();
    let mut written = Vec::new();
    for round in 0..4 {
        sleep(Duration::from_secs(4)).await;
        written.push(put(&server, &format!("a-{round}")).await.unwrap());
        get(&server, "a-0", Consistency::Linearizable)
            .await
            .unwrap();
    }
    let asked = guarded.tokens_asked_of_all() - before;
    assert!(asked >= 2.0, "no token ended");
    written.push(put(&server, "last").await.unwrap());
    let seen = timeout(PATIENCE, watching).await.unwrap().unwrap();
    assert_eq!(seen, written);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_that_forgets_all_tokens_costs_no_session_and_no_event() {
    let mut guarded = Guarded::start(short_lived(1)).await;
    let server = serve(&guarded.etcd, guarded.access()).await;
    let watching = watch(&server, "last").await;
    let session = Session::open(&server).await;
    let mut written = Vec::new();
    for round in 0..3 {
        written.push(put(&server, &format!("a-{round}")).await.unwrap());
        guarded.etcd.kill(0);
        guarded.etcd.restart(0).await;
        written.push(put_again(&server).await);
    }
    saw_all(watching, &server, written).await;
    session.lives_on(&server).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_refused_together_share_one_new_token() {
    let guarded = Guarded::start(Launch::of(1)).await;
    let server = serve(&guarded.etcd, guarded.access()).await;
    put(&server, "a").await.unwrap();
    let mut root = guarded.etcd.client(0).await;
    let before = guarded.tokens_asked(0);
    // The tokens of the user end, and its password stays what it was.
    root.user_change_password(USER, PASSWORD).await.unwrap();
    let puts = (0..64).map(|number| {
        let server = &server;
        async move { put(server, &format!("b-{number}")).await }
    });
    for put in futures_util::future::join_all(puts).await {
        put.unwrap();
    }
    assert_eq!(guarded.tokens_asked(0) - before, 1.0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_end_in_use_or_with_a_change_of_users_are_replaced_without_a_failed_call() {
    let key = key();
    let guarded = Guarded::start(ending_in_use(&key, 1)).await;
    let server = serve(&guarded.etcd, guarded.access()).await;
    let watching = watch(&server, "last").await;
    let session = Session::open(&server).await;
    let mut written = Vec::new();
    let before = guarded.tokens_asked(0);
    for round in 0..50 {
        sleep(Duration::from_millis(100)).await;
        written.push(put(&server, &format!("a-{round}")).await.unwrap());
    }
    assert!(guarded.tokens_asked(0) - before >= 2.0, "no token ended");
    let mut root = guarded.etcd.client(0).await;
    root.user_change_password(USER, PASSWORD).await.unwrap();
    written.push(put(&server, "last").await.unwrap());
    let seen = timeout(PATIENCE, watching).await.unwrap().unwrap();
    assert_eq!(seen, written);
    session.lives_on(&server).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_does_not_fail_because_the_token_of_its_stream_has_ended() {
    let key = key();
    let guarded = Guarded::start(ending_in_use(&key, 3)).await;
    let store = open(&guarded.etcd, guarded.access()).await.unwrap();
    store.grant(7, Duration::from_secs(60)).await.unwrap();
    let before = guarded.tokens_asked_of_all();
    for _ in 0..50 {
        store.keep_alive(7).await.unwrap();
        sleep(Duration::from_millis(100)).await;
    }
    let asked = guarded.tokens_asked_of_all() - before;
    assert!(asked >= 2.0, "no token ended");
}
