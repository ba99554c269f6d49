//! Stores that are not there, or not for us, at start.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{
    etcd::Etcd,
    process::{Process, run},
    server::eventually,
};

fn on(etcd: &Etcd) -> String {
    format!("--store=etcd://{}/start", etcd.endpoints().join(","))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_etcd_the_server_ends_with_69_and_says_so() {
    let begun = Instant::now();
    let output = run(&["--store=etcd://127.0.0.1:1,127.0.0.1:2/x"]).await;
    assert_eq!(output.status.code(), Some(69));
    assert!(begun.elapsed() < Duration::from_secs(10));
    let said = String::from_utf8(output.stderr).unwrap();
    for word in [
        "cannot be reached",
        "127.0.0.1:1",
        "127.0.0.1:2",
        "--wait-for-store",
    ] {
        assert!(said.contains(word), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_waits_for_etcd_when_it_is_told_to() {
    let mut etcd = Etcd::start().await;
    etcd.kill(0);
    let mut process = Process::spawn(&[&on(&etcd), "--wait-for-store"]);
    eventually("a word of the wait", || async {
        process
            .log()
            .contains("waiting for the store")
            .then_some(())
    })
    .await;
    etcd.restart(0).await;
    process.serves().await;
    process.signal(Signal::TERM);
    assert_eq!(process.end().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_waits_ends_when_it_is_told_to() {
    let mut process = Process::spawn(&["--store=etcd://127.0.0.1:1/x", "--wait-for-store"]);
    eventually("a word of the wait", || async {
        process
            .log()
            .contains("waiting for the store")
            .then_some(())
    })
    .await;
    process.signal(Signal::TERM);
    assert_eq!(process.end().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_without_quorum_is_not_waited_for_unless_told_so() {
    let mut etcd = Etcd::start_cluster(2).await;
    etcd.kill(1);
    let output = run(&[
        &on(&etcd),
        "--start-timeout=2s",
        "--listen=127.0.0.1:0",
        "--operations-listen=127.0.0.1:0",
    ])
    .await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(said.contains("could not be read within 2s"), "{said}");
    assert!(said.contains("quorum"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_serves_one_process_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let store = format!("--store=file:{}", directory.path().display());
    let mut first = Process::serve(&[&store]).await;
    let second = run(&[
        &store,
        "--listen=127.0.0.1:0",
        "--operations-listen=127.0.0.1:0",
    ])
    .await;
    let said = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(69), "{said}");
    assert!(said.contains("in use by another process"), "{said}");
    assert!(said.contains(directory.path().to_str().unwrap()), "{said}");

    // The first one did not notice, and leaves the directory to the next.
    first.signal(Signal::TERM);
    assert_eq!(first.end().await.code(), Some(0));
    Process::serve(&[&store]).await;
}
