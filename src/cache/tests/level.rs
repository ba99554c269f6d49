//! Reads over a store whose watches do not say how far they are.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::{
    Witness,
    fake::Fake,
    quick, quiet, ready, soon, start_with,
    toy::{Toy, all},
    until,
};
use crate::{
    cache::{Cache, Freshness, Message, Start},
    clock::ManualClock,
    store::{Error, Event, KeyValue, Revision, WatchItem},
};

fn mute() -> Arc<Fake> {
    let fake = Fake::new();
    fake.mute.store(true, Ordering::SeqCst);
    fake.put("p/0/a", "1");
    // A fresh replica, too, has to come past this.
    fake.put("q/outside", "1");
    fake
}

/// The revision of a read, and how many items it shows.
async fn read(cache: &Cache<Toy>, freshness: Freshness) -> (Revision, usize) {
    let view = soon(cache.read(freshness)).await.unwrap();
    (view.revision, view.state.kinds[0].len())
}

fn reader(cache: &Cache<Toy>) -> JoinHandle<(Revision, usize)> {
    let cache = cache.clone();
    tokio::spawn(async move { read(&cache, Freshness::Linearizable).await })
}

fn put(key: &'static str, revision: Revision) -> Result<WatchItem, Error> {
    let kv = KeyValue {
        key: Bytes::from_static(key.as_bytes()),
        value: Bytes::from_static(b"1"),
        create_revision: revision,
        mod_revision: revision,
        version: 1,
        lease: 0,
    };
    Ok(WatchItem::Changes {
        revision,
        events: vec![Event::Put(kv)],
    })
}

#[tokio::test]
async fn a_read_comes_past_what_was_written_elsewhere() {
    let fake = mute();
    let cache = ready(&fake, quick()).await;
    let outside = fake.put("q/outside", "2");
    assert_eq!(read(&cache, Freshness::Linearizable).await, (outside, 1));
    let inside = fake.put("p/0/b", "1");
    assert_eq!(read(&cache, Freshness::Linearizable).await, (inside, 2));
    let outside = fake.put("q/outside", "3");
    assert_eq!(read(&cache, Freshness::AtLeast(outside)).await.0, outside);
    // As the quiet store is probed now and then, the age stays small.
    fake.put("q/outside", "4");
    until(|| cache.view().unwrap().revision == outside + 1).await;
    until(|| cache.view().unwrap().age < Duration::from_millis(60)).await;
    assert_eq!(cache.stats().relists, 0);
}

#[tokio::test]
async fn a_read_waits_for_what_the_watch_has_not_told_yet() {
    let fake = mute();
    let cache = ready(&fake, quick()).await;
    fake.hold(true);
    let written = fake.put("p/0/b", "1");
    let waiting = reader(&cache);
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert!(!waiting.is_finished());
    fake.hold(false);
    assert_eq!(soon(waiting).await.unwrap(), (written, 2));
    fake.hold(true);
    let deleted = fake.delete("p/0/a");
    let waiting = reader(&cache);
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert!(!waiting.is_finished());
    fake.hold(false);
    assert_eq!(soon(waiting).await.unwrap(), (deleted, 1));
}

#[tokio::test]
async fn what_came_and_went_is_told_whole_and_the_state_never_goes_back() {
    let fake = mute();
    let cache = ready(&fake, quick()).await;
    let mut cursor = cache.subscribe(all(), Start::Snapshot, quiet()).unwrap();
    while !matches!(soon(cursor.next()).await, Some(Message::SnapshotEnd { .. })) {}
    fake.hold(true);
    let came = fake.put("p/0/x", "1");
    let went = fake.delete("p/0/x");
    assert_eq!(read(&cache, Freshness::Linearizable).await, (went, 1));
    let events = cache.stats().events;
    fake.say(put("p/0/x", came));
    until(|| cache.stats().events > events).await;
    // Only half of it is in, and the state without it was shown already.
    assert_eq!(read(&cache, Freshness::Cached).await, (went, 1));
    assert_eq!(read(&cache, Freshness::Linearizable).await, (went, 1));
    fake.hold(false);
    for revision in [came, went] {
        let message = soon(cursor.next()).await;
        assert!(
            matches!(&message, Some(Message::Delta { revision: told, events, conflated: false, .. })
                if *told == revision && events.len() == 1),
            "{message:?} at {revision}"
        );
    }
    assert_eq!(cache.view().unwrap().revision, went);
}

#[tokio::test]
async fn what_a_watch_leaves_out_is_listed() {
    let fake = mute();
    let clock = ManualClock::default();
    let witness = Arc::new(Witness::default());
    let cache = start_with(fake.clone(), witness, quick(), Arc::new(clock.clone()));
    until(|| {
        clock.advance(Duration::from_millis(1));
        cache.is_ready()
    })
    .await;
    fake.hold(true);
    let deleted = fake.delete("p/0/a");
    let waiting = reader(&cache);
    until(|| {
        clock.advance(Duration::from_millis(10));
        waiting.is_finished()
    })
    .await;
    assert_eq!(waiting.await.unwrap(), (deleted, 0));
    assert_eq!(cache.stats().relists, 1);
}
