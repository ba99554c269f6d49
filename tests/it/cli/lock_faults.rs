//! `stanchion lock` whose process is stopped or killed.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use super::{Running, Shell, locks::HOLD};
use crate::support::server::{Backend, eventually, on_both_stores};

on_both_stores! {
    a_holder_that_was_stopped_for_too_long_stops_its_command,
    who_waits_behind_a_waiter_that_was_killed_gets_the_lock,
    a_waiter_that_was_stopped_for_too_long_never_gets_the_lock,
}

/// How much longer than a session lives its place may be kept: what stores and replicas need to
/// find that it is over.
const SLACK: Duration = Duration::from_secs(4);

async fn a_holder_that_was_stopped_for_too_long_stops_its_command(backend: Backend) {
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    // Deaf to TERM, and free to write while the one is stopped who holds the lock for it.
    let command = format!(
        "trap '' TERM; echo $STANCHION_FENCING_TOKEN $$; read go; \
         {} config put a late --guard job 2>&1 | grep -o GUARD_FAILED; cat",
        env!("CARGO_BIN_EXE_stanchion")
    );
    let arguments = "lock job --ttl 2s --kill-after 100ms";
    let mut stopped = shell.start(arguments, &["sh", "-c", &command]);
    let first = stopped.line().await;
    let (token, pid) = first.split_once(' ').unwrap();
    let token: i64 = token.parse().unwrap();
    stopped.signal("STOP");
    let begun = Instant::now();
    let mut next = shell.start("lock job", &HOLD);
    let next_token: i64 = next.line().await.parse().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2) + SLACK);
    assert!(next_token > token);

    // The command knows nothing of that yet, and is refused.
    stopped.say("go").await;
    assert_eq!(stopped.line().await, "GUARD_FAILED");
    stopped.signal("CONT");
    assert_eq!(stopped.end().await.code(), Some(5));
    assert!(!Path::new("/proc").join(pid).exists());

    let put = format!("config put a 1 --guard job={next_token}");
    assert_eq!(shell.code(&put).await, 0);
    let shown = shell.json("locks show job").await;
    assert_eq!(shown["holder"]["fencing_token"], next_token);
    server.stop().await;
}

async fn who_waits_behind_a_waiter_that_was_killed_gets_the_lock(backend: Backend) {
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    let (mut holder, first, mut second) = queue(&shell).await;
    first.signal("KILL");
    let begun = Instant::now();
    holder.close_input();
    assert_eq!(holder.end().await.code(), Some(0));
    second.line().await;
    assert!(begun.elapsed() < Duration::from_secs(2) + SLACK);
    server.stop().await;
}

async fn a_waiter_that_was_stopped_for_too_long_never_gets_the_lock(backend: Backend) {
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    let (mut holder, mut first, mut second) = queue(&shell).await;
    first.signal("STOP");
    let begun = Instant::now();
    holder.close_input();
    assert_eq!(holder.end().await.code(), Some(0));
    // It is its turn for as long as its session lives, and it does not know.
    let token: i64 = second.line().await.parse().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2) + SLACK);
    first.signal("CONT");
    assert_eq!(first.end().await.code(), Some(5));
    let shown = shell.json("locks show job").await;
    assert_eq!(shown["holder"]["fencing_token"], token);
    assert_eq!(shown["waiter_count"], 0);
    server.stop().await;
}

/// A holder and two who wait, the first of them with a session of two seconds.
async fn queue(shell: &Shell) -> (Running, Running, Running) {
    let mut holder = shell.start("lock job", &HOLD);
    holder.line().await;
    // To run it would end in another exit code.
    let first = shell.start("lock job --ttl 2s", &["/no/such/program"]);
    waiting(shell, 1).await;
    let second = shell.start("lock job", &HOLD);
    waiting(shell, 2).await;
    (holder, first, second)
}

async fn waiting(shell: &Shell, count: usize) {
    eventually("a place in the queue", async || {
        let queue = shell.json("locks show job").await;
        (queue["waiter_count"] == count).then_some(())
    })
    .await;
}
