//! How fresh answers are, and what that costs the store.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::sync::Semaphore;

use super::{fake::Fake, quick, ready, ready_by_clock, soon, toy::Toy, until};
use crate::{
    cache::{Cache, Error, Freshness, Settings},
    store::{self, WatchItem},
};

fn reader(cache: &Cache<Toy>) -> tokio::task::JoinHandle<Result<i64, Error>> {
    let cache = cache.clone();
    tokio::spawn(async move {
        cache
            .read(Freshness::Linearizable)
            .await
            .map(|view| view.revision)
    })
}

#[tokio::test]
async fn linearizable_readers_share_the_next_probe_and_never_one_already_sent() {
    let fake = Fake::new();
    fake.put("p/0/a", "1");
    let settings = Settings {
        idle_probe: Duration::from_secs(3600),
        ..quick()
    };
    let cache = ready(&fake, settings).await;
    let gate = Arc::new(Semaphore::new(0));
    *fake.gate.lock().unwrap() = Some(gate.clone());
    let first = reader(&cache);
    until(|| fake.probes.load(Ordering::SeqCst) == 1).await;
    let written = fake.put("p/0/a", "2");
    let later: Vec<_> = (0..50).map(|_| reader(&cache)).collect();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(fake.probes.load(Ordering::SeqCst), 1);
    gate.add_permits(1);
    soon(first).await.unwrap().unwrap();
    assert!(later.iter().all(|reader| !reader.is_finished()));
    gate.add_permits(1);
    for reader in later {
        assert!(soon(reader).await.unwrap().unwrap() >= written);
    }
    assert_eq!(fake.probes.load(Ordering::SeqCst), 2);
    assert_eq!(cache.stats().probe_waiters, 51);
}

#[tokio::test]
async fn many_who_rode_together_are_waited_for_but_not_long() {
    let fake = Fake::new();
    fake.put("p/0/a", "1");
    let (cache, clock) = ready_by_clock(&fake, quick()).await;
    let all_read = async |readers: usize| {
        let readers: Vec<_> = (0..readers).map(|_| reader(&cache)).collect();
        for reader in readers {
            soon(reader).await.unwrap().unwrap();
        }
    };
    let probes = || fake.probes.load(Ordering::SeqCst);
    all_read(20).await;
    assert_eq!(probes(), 1);
    let early: Vec<_> = (0..15).map(|_| reader(&cache)).collect();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(probes(), 1, "the others may come");
    all_read(5).await;
    assert_eq!(probes(), 2);
    for reader in early {
        soon(reader).await.unwrap().unwrap();
    }
    let few = reader(&cache);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(probes(), 2);
    clock.advance(Duration::from_millis(1));
    soon(few).await.unwrap().unwrap();
    // After one alone nobody is expected.
    all_read(1).await;
    assert_eq!(probes(), 4);
}

#[tokio::test]
async fn a_read_waits_past_writes_outside_the_prefix_and_lost_progress() {
    let fake = Fake::new();
    fake.put("p/0/a", "1");
    let settings = Settings {
        idle_probe: Duration::from_secs(3600),
        ..quick()
    };
    let cache = ready(&fake, settings).await;
    fake.progress_lost.store(3, Ordering::SeqCst);
    let outside = fake.put("q/b", "1");
    let view = soon(cache.read(Freshness::Linearizable)).await.unwrap();
    assert!(view.revision >= outside);
    fake.progress_lost.store(3, Ordering::SeqCst);
    let outside = fake.put("q/b", "2");
    let view = soon(cache.read(Freshness::AtLeast(outside))).await.unwrap();
    assert!(view.revision >= outside);
}

#[tokio::test]
async fn a_revision_that_does_not_come_is_an_error_that_says_where_we_are() {
    let fake = Fake::new();
    let revision = fake.put("p/0/a", "1");
    let settings = Settings {
        freshness_wait: Duration::from_millis(30),
        ..quick()
    };
    let cache = ready(&fake, settings).await;
    let answer = cache.read(Freshness::AtLeast(revision + 9)).await;
    assert_eq!(
        answer.err(),
        Some(Error::Behind {
            wanted: revision + 9,
            reached: revision
        })
    );
    assert!(!cache.reached(revision + 9, Duration::from_millis(1)).await);
    assert!(cache.reached(revision, Duration::ZERO).await);
}

#[tokio::test]
async fn without_the_store_cached_reads_go_on_and_linearizable_ones_fail() {
    let fake = Fake::new();
    fake.put("p/0/a", "1");
    let cache = ready(&fake, quick()).await;
    fake.away.store(true, Ordering::SeqCst);
    let answer = soon(cache.read(Freshness::Linearizable)).await;
    assert!(matches!(
        answer.err(),
        Some(Error::Store(store::Error::Unavailable { .. }))
    ));
    let view = cache.read(Freshness::Cached).await.unwrap();
    assert_eq!(view.state.kinds[0].len(), 1);
    until(|| cache.view().unwrap().age > Duration::from_millis(100)).await;
    fake.away.store(false, Ordering::SeqCst);
    until(|| cache.view().unwrap().age < Duration::from_millis(60)).await;
}

#[tokio::test]
async fn a_quiet_store_is_probed_now_and_then_so_that_the_age_stays_small() {
    let fake = Fake::new();
    fake.put("p/0/a", "1");
    let settings = Settings::default();
    let idle = settings.idle_probe;
    let (cache, clock) = ready_by_clock(&fake, settings).await;
    let outside = fake.put("q/a", "1");
    for _ in 0..3 {
        let probes = fake.probes.load(Ordering::SeqCst);
        clock.advance(idle);
        until(|| fake.probes.load(Ordering::SeqCst) > probes).await;
        until(|| cache.view().unwrap().age.is_zero()).await;
    }
    assert!(cache.view().unwrap().revision >= outside);

    // After a break, what the watch delivers may be old: only an answered probe counts.
    fake.away.store(true, Ordering::SeqCst);
    fake.say(Ok(WatchItem::Interrupted));
    until(|| cache.stats().probe_failures > 0).await;
    clock.advance(idle / 2);
    let revision = fake.put("p/0/a", "2");
    until(|| cache.view().unwrap().revision == revision).await;
    assert_eq!(cache.view().unwrap().age, idle / 2);
    fake.away.store(false, Ordering::SeqCst);
    clock.advance(idle);
    until(|| cache.view().unwrap().age.is_zero()).await;
}

#[tokio::test]
async fn waiters_on_a_kind_sleep_through_changes_of_others() {
    let fake = Fake::new();
    fake.put("p/0/a", "1");
    fake.put("p/1/b", "1");
    let cache = ready(&fake, quick()).await;
    let seen = cache.view().unwrap().revision;
    let waiting = {
        let cache = cache.clone();
        tokio::spawn(async move { cache.changed(1, seen).await.unwrap().revision })
    };
    let other = fake.put("p/0/a", "2");
    assert!(cache.reached(other, Duration::from_secs(5)).await);
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    let own = fake.put("p/1/b", "2");
    assert_eq!(soon(waiting).await.unwrap(), own);
    // What was changed already is not waited for.
    assert_eq!(soon(cache.changed(0, seen)).await.unwrap().revision, own);
    let cache2 = cache.clone();
    let waiting = tokio::spawn(async move { cache2.changed(0, own).await.err() });
    tokio::task::yield_now().await;
    cache.shutdown().await;
    assert!(matches!(
        soon(waiting).await.unwrap(),
        Some(Error::Store(store::Error::Unavailable { .. }))
    ));
}

#[tokio::test]
async fn who_shut_a_cache_down_finds_its_tasks_ended() {
    let fake = Fake::new();
    let cache = ready(&fake, quick()).await;
    assert!(Arc::strong_count(&fake) > 1);
    cache.shutdown().await;
    assert_eq!(
        Arc::strong_count(&fake),
        1,
        "somebody may still call the store"
    );
}
