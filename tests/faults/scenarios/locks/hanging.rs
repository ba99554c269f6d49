//! Replicas that hang or die while some hold locks over them and others wait: whoever knows another
//! replica goes on, whoever does not knows in time that it holds nothing any more.

use std::time::Duration;

use stanchion_client::{
    ChangeOptions, Client, LockGuard, Options, SessionOptions,
    proto::{ErrorReason, GetLockRequest, lock_service_client::LockServiceClient},
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::{judge, plan};
use crate::{
    harness::{Figures, World, alone},
    load::{Holders, TTL},
    support::server::eventually,
};

/// How many take turns at other locks all the while.
const OTHERS: usize = 16;
/// What the store and the replicas may take to end a session that nobody renews, and clients to
/// find that a replica hangs.
const SLACK: Duration = Duration::from_secs(5);
/// How soon a client finds that a connection is dead.
const PING: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(1));
const PAUSE: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "one of `make test-faults`"]
async fn holders_and_waiters_outlive_a_replica_that_hangs_and_one_that_dies() {
    let plan = plan("locks over replicas that hang and die");
    alone(&plan, hang_and_die).await;
}

async fn hang_and_die(world: &mut World) -> Figures {
    let holders = Holders::start(world, OTHERS).await;
    let handed_over = hang(world, &holders).await;
    let kept = die(world).await;
    world.note("everything is well again");
    holders.all_go_on(4 * TTL).await;
    let mut figures = judge(world, holders, 0).await;
    figures.add(
        "handed over by a hanging replica after",
        seconds(handed_over),
    );
    figures.add("handed over by a dead replica after", seconds(kept));
    figures
}

/// The replica of a holder and of the first who waits hangs. Says after how long that one holds.
async fn hang(world: &mut World, holders: &Holders) -> Duration {
    const LOCK: &str = "hung";
    let holder = client(&[world.fronts()[0].clone()]);
    let held = holder.lock(LOCK).acquire().await.unwrap();
    let first = waiter(world, 0, LOCK, 1).await;
    let second = waiter(world, 1, LOCK, 2).await;
    world.pause_replica(0);
    let begun = Instant::now();
    let losing = tokio::spawn(async move {
        held.lost().await;
        (held, Instant::now())
    });
    holders.all_go_on(4 * TTL).await;
    let (first, granted) = timeout(TTL + SLACK, first).await.unwrap().unwrap();
    let (held, lost) = losing.await.unwrap();
    assert!(lost < granted, "it believed to hold what another held");
    assert!(!held.is_held() && first.is_held());
    assert!(first.fencing_token() > held.fencing_token());
    world.resume_replica(0);
    // It never let go, and what it is about to write is refused, by the very replica that hung.
    let options = ChangeOptions {
        guard: Some(held.guard()),
        ..ChangeOptions::default()
    };
    let late = holder.config().put("hung", "late").options(options);
    let refused = late.send().await.unwrap_err();
    assert_eq!(refused.reason(), ErrorReason::GuardFailed, "{refused}");
    let token = first.fencing_token();
    first.release().await.unwrap();
    let (second, _) = timeout(SLACK, second).await.unwrap().unwrap();
    assert!(second.fencing_token() > token);
    second.release().await.unwrap();
    granted - begun
}

/// The replica of a holder and of those who wait dies. Says after how long the next one holds, once
/// the first one lets go.
async fn die(world: &mut World) -> Duration {
    const LOCK: &str = "orphaned";
    let holder = at(world, 2);
    let held = holder.lock(LOCK).acquire().await.unwrap();
    let first = waiter(world, 2, LOCK, 1).await;
    let second = waiter(world, 0, LOCK, 2).await;
    world.kill_replica(2).await;
    let begun = Instant::now();
    while begun.elapsed() < TTL + TTL / 2 {
        assert!(held.is_held(), "lost after {:?}", begun.elapsed());
        assert!(!first.is_finished() && !second.is_finished());
        sleep(PAUSE).await;
    }
    let token = held.fencing_token();
    let released = Instant::now();
    held.release().await.unwrap();
    let (first, granted) = timeout(SLACK, first).await.unwrap().unwrap();
    assert!(first.fencing_token() > token);
    let token = first.fencing_token();
    first.release().await.unwrap();
    let (second, _) = timeout(SLACK, second).await.unwrap().unwrap();
    assert!(second.fencing_token() > token);
    second.release().await.unwrap();
    world.start_replica(2).await;
    granted - released
}

/// Waits for a lock at a replica, in this place of its queue; all replicas are known to it.
async fn waiter(
    world: &World,
    replica: usize,
    lock: &'static str,
    place: i32,
) -> JoinHandle<(LockGuard, Instant)> {
    let client = at(world, replica);
    let waiting = tokio::spawn(async move {
        let held = client.lock(lock).acquire().await.unwrap();
        (held, Instant::now())
    });
    let locks = LockServiceClient::new(world.replicas[replica].channel());
    eventually("a place in the queue", async || {
        let request = GetLockRequest {
            lock: lock.into(),
            ..Default::default()
        };
        let queue = locks.clone().get_lock(request).await.unwrap();
        let queue = queue.into_inner().lock.unwrap();
        (queue.waiter_count == place).then_some(())
    })
    .await;
    waiting
}

/// A client that begins at this replica and knows the others.
fn at(world: &World, replica: usize) -> Client {
    let mut fronts = world.fronts();
    fronts.rotate_left(replica);
    client(&fronts)
}

fn client(endpoints: &[String]) -> Client {
    let options = Options {
        session: SessionOptions {
            ttl: Some(TTL),
            ..SessionOptions::default()
        },
        shuffle_endpoints: false,
        keepalive_interval: PING.0,
        keepalive_timeout: PING.1,
        ..Options::default()
    };
    Client::connect(endpoints, options).unwrap()
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}
