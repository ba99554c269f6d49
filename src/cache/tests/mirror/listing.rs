//! Listing what there is, whole and at one revision, also when the store forgets meanwhile.

use super::*;

#[tokio::test]
async fn a_listing_of_many_pages_is_whole_and_the_watch_goes_on_from_it() {
    let fake = Fake::new();
    for name in 0..10 {
        fake.put(&format!("p/0/n{name}"), "x");
    }
    fake.put("q/elsewhere", "x");
    let settings = Settings {
        log_revisions: 2,
        ..quick()
    };
    let cache = start(&fake, settings);
    assert_eq!(cache.view().err(), Some(Error::NotReady));
    soon(cache.ready()).await;
    assert_eq!(names(&cache).len(), 10);
    assert_eq!(cache.view().unwrap().revision, fake.revision());
    let revision = fake.put("p/0/n5", "y");
    assert!(soon(cache.reached(revision, Duration::from_secs(5))).await);
    let view = cache.view().unwrap();
    assert_eq!(view.state.kinds[0][&b"n5"[..]].value, "y");
    assert_eq!(fake.watches.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn pages_that_do_not_come_in_time_are_asked_for_in_smaller_ones() {
    let fake = Fake::new();
    for name in 0..10 {
        fake.put(&format!("p/0/n{name}"), "x");
    }
    fake.in_time.store(1, Ordering::SeqCst);
    let settings = Settings {
        log_revisions: 2,
        ..quick()
    };
    let cache = ready(&fake, settings).await;
    assert_eq!(names(&cache).len(), 10);
    let late = fake.late.lock().unwrap();
    assert!(!late.is_empty() && late.iter().all(|keys| *keys == 3));
}

#[tokio::test]
async fn a_store_that_does_not_answer_at_all_is_not_asked_again_and_again_without_a_pause() {
    let fake = Fake::new();
    fake.put("p/0/a", "1");
    fake.in_time.store(0, Ordering::SeqCst);
    let settings = Settings {
        page: 100,
        ..quick()
    };
    let cache = start(&fake, settings);
    until(|| fake.late.lock().unwrap().len() >= 4).await;
    assert_eq!(fake.late.lock().unwrap()[..4], [8, 2, 8, 2]);
    fake.in_time.store(usize::MAX, Ordering::SeqCst);
    soon(cache.ready()).await;
    assert_eq!(names(&cache), ["a"]);
}

#[tokio::test]
async fn an_empty_store_is_ready_at_once() {
    let fake = Fake::new();
    let cache = ready(&fake, quick()).await;
    assert_eq!(cache.view().unwrap().revision, 1);
}

#[tokio::test]
async fn a_store_that_is_away_at_the_start_is_waited_for() {
    let fake = Fake::new();
    fake.put("p/0/a", "1");
    fake.away.store(true, Ordering::SeqCst);
    let cache = start(&fake, quick());
    assert_eq!(
        cache.read(Freshness::Linearizable).await.err(),
        Some(Error::NotReady)
    );
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!cache.is_ready());
    fake.away.store(false, Ordering::SeqCst);
    soon(cache.ready()).await;
    assert_eq!(names(&cache), ["a"]);
}

#[tokio::test]
async fn a_fresh_replica_resumes_a_cursor_of_an_older_one_without_gap() {
    let fake = Fake::new();
    fake.put("p/0/a", "1");
    let old = ready(&fake, quick()).await;
    let view = old.view().unwrap();
    let token = old.token(&view, &all());
    fake.put("p/0/b", "1");
    fake.put("p/0/a", "2");
    fake.delete("p/0/b");

    let fresh = ready(&fake, quick()).await;
    let mut cursor = fresh
        .subscribe(all(), Start::Resume(token), quiet())
        .unwrap();
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.extend(told(&soon(cursor.next()).await.unwrap()));
    }
    assert_eq!(seen, ["+b=1", "~a=2", "-b"]);
}

#[tokio::test]
async fn a_replica_that_starts_after_a_compaction_lists_at_the_oldest_revision_left() {
    let fake = Fake::new();
    fake.put("p/0/a", "1");
    let kept = fake.put("p/0/b", "1");
    fake.forget(kept);
    fake.put("p/0/c", "1");
    let cache = ready(&fake, quick()).await;
    assert_eq!(names(&cache), ["a", "b", "c"]);
    let mut cursor = cache.subscribe(all(), Start::After(kept), quiet()).unwrap();
    assert_eq!(told(&soon(cursor.next()).await.unwrap()), ["+c=1"]);
    let mut cursor = cache
        .subscribe(all(), Start::After(kept - 1), quiet())
        .unwrap();
    starts_over(&mut cursor, ResetReason::Behind).await;
}

#[tokio::test]
async fn a_listing_that_compaction_cuts_short_again_and_again_is_merged_with_a_watch() {
    let fake = Fake::new();
    for name in 0..10 {
        fake.put(&format!("p/0/a{name}"), "x");
    }
    fake.put("p/0/z9", "x");
    fake.compact_after_page.store(12, Ordering::SeqCst);
    fake.write_after_page.store(12, Ordering::SeqCst);
    let cache = ready(&fake, quick()).await;
    let fresh = ready(&fake, quick()).await;
    let expected = fresh.read(Freshness::Linearizable).await.unwrap();
    let found = cache
        .read(Freshness::AtLeast(expected.revision))
        .await
        .unwrap();
    assert_eq!(found.state.kinds, expected.state.kinds);
    assert!(!found.state.kinds[0].contains_key(&b"a1"[..]));
    assert!(found.state.kinds[0][&b"a0"[..]].value.starts_with(b"w"));
}
