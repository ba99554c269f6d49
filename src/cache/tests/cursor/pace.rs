//! What time does to a watch: bursts that are merged, quiet that is broken, and the end.

use super::*;

#[tokio::test]
async fn bursts_are_merged_per_thing_when_asked_for() {
    let fake = Fake::new();
    fake.put("p/0/a", "1");
    let (cache, clock) = ready_by_clock(&fake, Settings::default()).await;
    let options = CursorOptions {
        min_interval: Duration::from_secs(1),
        ..quiet()
    };
    let mut cursor = following(&cache, all(), options).await;
    let mut exact = following(&cache, all(), quiet()).await;
    let first = fake.put("p/0/a", "2");
    assert_eq!(next(&mut cursor).await, "~a=2");
    fake.put("p/0/b", "1");
    fake.put("p/0/c", "1");
    fake.put("p/0/b", "2");
    fake.delete("p/0/c");
    let last = fake.delete("p/0/a");
    reached(&cache, last).await;
    assert!(silent(&mut cursor).await);
    clock.advance(Duration::from_secs(1));
    match soon(cursor.next()).await {
        Some(
            message @ Message::Delta {
                prev_revision,
                revision,
                ..
            },
        ) => {
            assert_eq!((prev_revision, revision), (first, last));
            assert_eq!(text(Some(message)), "+b=2 -a conflated");
        }
        other => panic!("{other:?}"),
    }
    // One revision alone is not conflated, and what vanished is not told.
    fake.put("p/0/d", "1");
    clock.advance(Duration::from_secs(1));
    assert_eq!(next(&mut cursor).await, "+d=1");
    fake.put("p/0/e", "1");
    let last = fake.delete("p/0/e");
    reached(&cache, last).await;
    clock.advance(Duration::from_secs(1));
    assert!(silent(&mut cursor).await);
    for told in [
        "~a=2", "+b=1", "+c=1", "~b=2", "-c", "-a", "+d=1", "+e=1", "-e",
    ] {
        assert_eq!(next(&mut exact).await, told);
    }
}

#[tokio::test]
async fn a_reader_that_comes_back_to_quiet_is_told_that_nothing_happened() {
    let fake = Fake::new();
    let (cache, clock) = ready_by_clock(&fake, quick()).await;
    let mut cursor = following(&cache, all(), CursorOptions::default()).await;
    // Waits once, so that its timer runs, and is woken from that wait by a change.
    assert!(silent(&mut cursor).await);
    fake.put("p/0/a", "1");
    assert_eq!(next(&mut cursor).await, "+a=1");
    // While nobody reads, the timer goes off.
    clock.advance(Duration::from_secs(60));
    tokio::time::sleep(Duration::from_millis(20)).await;
    tokio::select! {
        // In this order, so that the end of the patience does not wake the cursor.
        biased;
        () = tokio::time::sleep(PATIENCE) => panic!("nothing is told"),
        message = cursor.next() => assert_eq!(text(message), "bookmark"),
    }
}

#[tokio::test]
async fn quiet_is_broken_by_bookmarks_that_advance_the_token() {
    let fake = Fake::new();
    let (cache, clock) = ready_by_clock(&fake, Settings::default()).await;
    let mut cursor = following(&cache, all(), CursorOptions::default()).await;
    let elsewhere = fake.put("p/1/x", "1");
    reached(&cache, elsewhere).await;
    assert!(silent(&mut cursor).await);
    clock.advance(Duration::from_secs(10));
    assert_eq!(next(&mut cursor).await, "bookmark");
    assert_eq!(cursor.token().revision, elsewhere);
    let prev = elsewhere;
    fake.put("p/0/a", "1");
    assert!(matches!(
        soon(cursor.next()).await,
        Some(Message::Delta { prev_revision, .. }) if prev_revision == prev
    ));
}

#[tokio::test]
async fn a_stream_ends_by_age_or_drain_after_delivering_what_there_is() {
    let fake = Fake::new();
    fake.put("p/0/a", "1");
    let (cache, clock) = ready_by_clock(&fake, Settings::default()).await;
    let aging = CursorOptions {
        max_age: Duration::from_secs(60),
        min_interval: Duration::from_secs(3600),
        ..quiet()
    };
    let mut aged = following(&cache, all(), aging).await;
    let mut drained = cache.subscribe(all(), Start::Snapshot, quiet()).unwrap();
    fake.put("p/0/b", "1");
    assert_eq!(next(&mut aged).await, "+b=1");
    let revision = fake.put("p/0/b", "2");
    reached(&cache, revision).await;
    clock.advance(Duration::from_secs(60));
    assert_eq!(next(&mut aged).await, "~b=2");
    let end = soon(aged.next()).await;
    assert!(matches!(
        end,
        Some(Message::Bookmark { revision: at, last: Some(FinalReason::MaxAge) }) if at == revision
    ));
    assert_eq!(aged.token().revision, revision);
    assert_eq!(next(&mut aged).await, "end");

    let mut waiting = following(&cache, all(), quiet()).await;
    let waiter = tokio::spawn(async move { next(&mut waiting).await });
    tokio::task::yield_now().await;
    cache.drain();
    assert_eq!(soon(waiter).await.unwrap(), "final Draining");
    assert_eq!(next(&mut drained).await, "snapshot a b");
    assert_eq!(next(&mut drained).await, "whole");
    assert_eq!(next(&mut drained).await, "final Draining");
    assert_eq!(next(&mut drained).await, "end");
}
