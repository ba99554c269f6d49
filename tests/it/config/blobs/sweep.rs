//! Blobs that nobody needs any more, and those that somebody does.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use stanchion::{
    clock::ManualClock,
    domain::{
        config::{Blob, BlobId},
        records,
    },
    store::{Operation, Txn},
};

use super::{
    MIB, content,
    faults::{Hand, server_behind},
    path,
};
use crate::{
    config::put,
    support::{
        overlay::Overlaid,
        server::{Backend, Server, eventually, on_both_stores},
    },
};

on_both_stores! {
    a_blob_of_a_write_that_was_broken_off_goes_after_an_hour,
    a_blob_goes_with_the_last_of_its_versions,
    a_blob_in_use_stays_however_old_it_is,
    blobs_go_from_a_full_store_too,
    one_sweep_takes_all_that_nobody_needs,
    a_sweep_that_meets_a_write_takes_nothing_in_use,
}

const HOUR: Duration = Duration::from_secs(3600);

/// A replica whose clock the test moves.
async fn with_clock(backend: &Backend, hand: &Arc<Overlaid<Hand>>) -> (Server, ManualClock) {
    let clock = ManualClock::default();
    let starting = server_behind(hand, backend, Arc::new(clock.clone()));
    // To begin with it asks the store from time to time how far it is.
    let server = tokio::select! {
        server = starting => server,
        () = ticking(&clock) => unreachable!(),
    };
    (server, clock)
}

/// Moves a clock as fast as time goes.
async fn ticking(clock: &ManualClock) {
    const TICK: Duration = Duration::from_millis(10);
    loop {
        tokio::time::sleep(TICK).await;
        clock.advance(TICK);
    }
}

/// Does something that waits for the clock.
async fn meanwhile<T>(clock: &ManualClock, what: impl Future<Output = T>) -> T {
    tokio::select! {
        done = what => done,
        () = ticking(clock) => unreachable!(),
    }
}

/// Lets the time of many sweeps go by.
async fn sweeps(clock: &ManualClock) {
    for _ in 0..10 {
        clock.advance(Duration::from_secs(600));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until there are so many blobs, while the time of sweeps goes by.
async fn until_blobs(server: &Server, clock: &ManualClock, count: usize) {
    eventually("the blobs that nobody needs to be gone", async || {
        clock.advance(Duration::from_secs(600));
        (server.blobs().await.len() == count).then_some(())
    })
    .await;
}

impl Server {
    /// Deletes versions as whoever prunes the history would.
    async fn forget(&self, key: &str, first: i64, last: i64) {
        let core = &self.app().core;
        let keys = core.keys.config_versions(&path(key), first, last);
        let txn = Txn::new().then(Operation::Delete(keys));
        core.store.txn(txn).await.unwrap();
    }
}

async fn one_sweep_takes_all_that_nobody_needs(backend: Backend) {
    /// More than are listed at a time.
    const BLOBS: u16 = 600;
    let hand = Hand::over(&backend).await;
    let (server, clock) = with_clock(&backend, &hand).await;
    let keys = &server.app().core.keys;
    let written = |number: u16| {
        let content = Bytes::copy_from_slice(&number.to_be_bytes());
        let id = BlobId::of(&content);
        let blob = Blob { id, content };
        let record = records::encode_blob(&blob, SystemTime::UNIX_EPOCH);
        Operation::put(keys.blob(&id), record)
    };
    for some in (0..BLOBS).collect::<Vec<_>>().chunks(100) {
        let blobs = some.iter().copied().map(written);
        server.write(Txn::new().then_all(blobs)).await;
    }
    assert_eq!(server.blobs().await.len(), usize::from(BLOBS));
    eventually("a sweep to begin", async || {
        clock.advance(Duration::from_secs(600));
        (server.blobs().await.len() < usize::from(BLOBS)).then_some(())
    })
    .await;
    eventually("all of them to be gone", async || {
        server.blobs().await.is_empty().then_some(())
    })
    .await;
    server.stop().await;
}

async fn a_blob_of_a_write_that_was_broken_off_goes_after_an_hour(backend: Backend) {
    let hand = Hand::over(&backend).await;
    let (server, clock) = with_clock(&backend, &hand).await;
    hand.no_heads.store(true, Ordering::SeqCst);
    let dead = meanwhile(&clock, server.try_put(put("a", content(1, MIB)))).await;
    assert!(dead.is_err());
    let blobs = server.blobs().await;
    assert_eq!(blobs.len(), 1);
    // The next one finds it when it sweeps, but it may be somebody's who is only slow.
    clock.advance(Duration::from_secs(601));
    tokio::time::sleep(Duration::from_millis(100)).await;
    clock.advance(Duration::from_secs(601));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.blobs().await, blobs);
    until_blobs(&server, &clock, 0).await;
    let keys = &server.app().core.keys;
    assert!(server.keys_in(keys.blob_pieces(&blobs[0])).await.is_empty());
    // And nothing of it is in the way.
    hand.no_heads.store(false, Ordering::SeqCst);
    let written = meanwhile(&clock, server.put("a", content(1, MIB))).await;
    assert_eq!(written.version, 1);
    assert_eq!(server.version("a", 1).await, content(1, MIB));
    server.stop().await;
}

async fn a_blob_goes_with_the_last_of_its_versions(backend: Backend) {
    let hand = Hand::over(&backend).await;
    let (server, clock) = with_clock(&backend, &hand).await;
    for (key, number) in [("a", 1), ("a", 2), ("b", 1), ("a", 1)] {
        meanwhile(&clock, server.put(key, content(number, MIB))).await;
    }
    assert_eq!(server.blobs().await.len(), 2);
    let keys = &server.app().core.keys;
    let blobs = [1, 2].map(|number| BlobId::of(&content(number, MIB)));
    for blob in &blobs {
        assert!(!server.keys_in(keys.blob_uses(blob)).await.is_empty());
    }
    server.forget("a", 1, 1).await;
    server.forget("b", 1, 1).await;
    sweeps(&clock).await;
    assert_eq!(server.blobs().await.len(), 2);
    assert_eq!(server.version("a", 3).await, content(1, MIB));
    server.forget("a", 3, 3).await;
    until_blobs(&server, &clock, 1).await;
    assert_eq!(server.version("a", 2).await, content(2, MIB));
    server.forget("a", 2, 2).await;
    until_blobs(&server, &clock, 0).await;
    for blob in &blobs {
        assert!(server.keys_in(keys.blob_uses(blob)).await.is_empty());
        assert!(server.keys_in(keys.blob_pieces(blob)).await.is_empty());
    }
    server.stop().await;
}

async fn a_blob_in_use_stays_however_old_it_is(backend: Backend) {
    let hand = Hand::over(&backend).await;
    let (server, clock) = with_clock(&backend, &hand).await;
    meanwhile(&clock, server.put("a", content(1, MIB))).await;
    // One that goes says that the sweeps have come by.
    hand.no_heads.store(true, Ordering::SeqCst);
    let dead = meanwhile(&clock, server.try_put(put("b", content(2, MIB)))).await;
    assert!(dead.is_err());
    until_blobs(&server, &clock, 1).await;
    clock.advance(24 * 30 * HOUR);
    sweeps(&clock).await;
    assert_eq!(server.version("a", 1).await, content(1, MIB));
    server.stop().await;
}

async fn blobs_go_from_a_full_store_too(backend: Backend) {
    let hand = Hand::over(&backend).await;
    let (server, clock) = with_clock(&backend, &hand).await;
    meanwhile(&clock, server.put("a", content(1, MIB))).await;
    meanwhile(&clock, server.put("a", "small")).await;
    hand.full.store(true, Ordering::SeqCst);
    server.forget("a", 1, 1).await;
    until_blobs(&server, &clock, 0).await;
    server.stop().await;
}

async fn a_sweep_that_meets_a_write_takes_nothing_in_use(backend: Backend) {
    let mut settings = backend.settings();
    settings.domain.blob_keep = Duration::ZERO;
    settings.domain.blob_sweep_interval = Duration::from_millis(1);
    let server = backend.server_with(settings).await;
    // The same content comes and goes while the sweeps go on.
    let large = content(1, 100 * 1024);
    for round in 1..=20 {
        for key in ["a", "b"] {
            let written = server.put(key, &large).await;
            assert_eq!(server.version(key, written.version).await, large);
            server.put(key, format!("{round}")).await;
        }
        for key in ["a", "b"] {
            server.forget(key, 1, 2 * round).await;
        }
    }
    eventually("the last blob to be gone", async || {
        server.blobs().await.is_empty().then_some(())
    })
    .await;
    server.stop().await;
}
