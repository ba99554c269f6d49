//! Listing, watching, and starting over.
//!
//! One surface, the task that follows the store, so one file.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{
    Witness,
    fake::Fake,
    quick, quiet, ready, soon, start, start_with,
    toy::{Cause, Named, Toy, all, shown},
    until,
};
use crate::{
    cache::{Action, Cache, Error, Freshness, Message, ResetReason, Settings, Start},
    clock::SystemClock,
    store::{self, Outcome, Revision, WatchItem},
};

type Seen = Message<(String, String, i64), Cause>;

pub(super) fn names(cache: &Cache<Toy>) -> Vec<String> {
    let view = cache.view().unwrap();
    view.state.kinds[0].values().map(|kv| shown(kv).0).collect()
}

/// The events of a delta as text.
fn told(message: &Seen) -> Vec<String> {
    match message {
        Message::Delta { events, .. } => events
            .iter()
            .map(|event| {
                let (name, value, _) = &event.item;
                match event.action {
                    Action::Added => format!("+{name}={value}"),
                    Action::Modified => format!("~{name}={value}"),
                    Action::Deleted(_) => format!("-{name}"),
                }
            })
            .collect(),
        other => panic!("not a delta: {other:?}"),
    }
}

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
async fn an_empty_store_is_ready_at_once() {
    let fake = Fake::new();
    let cache = ready(&fake, quick()).await;
    assert_eq!(cache.view().unwrap().revision, 1);
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
    assert!(matches!(
        soon(cursor.next()).await,
        Some(Message::Reset {
            reason: ResetReason::Behind
        })
    ));
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

#[tokio::test]
async fn a_history_is_confirmed_only_when_the_watch_is_there_again() {
    let fake = Fake::new();
    fake.put("p/0/a", "1");
    let lineage = Witness::of(&fake);
    let (store, clock) = (fake.clone(), Arc::new(SystemClock));
    let cache = start_with(store, lineage.clone(), quick(), clock);
    soon(cache.ready()).await;
    assert!(cache.is_confirmed());
    let asked = || lineage.asked.lock().unwrap().len();
    let before = asked();
    fake.say(Ok(WatchItem::Interrupted));
    until(|| asked() > before).await;
    // Long enough for what was asked to be told.
    assert!(cache.confirmed(Duration::from_millis(50)).await.is_err());
    fake.say(Ok(WatchItem::Resumed));
    soon(cache.confirmed(Duration::from_secs(20)))
        .await
        .unwrap();
    assert_eq!(asked(), before + 2, "asked once more");
}

#[tokio::test]
async fn an_interrupted_watch_and_one_that_ended_lose_and_repeat_nothing() {
    let fake = Fake::new();
    fake.put("p/0/a", "1");
    let lineage = Witness::of(&fake);
    let cache = start_with(
        fake.clone(),
        lineage.clone(),
        quick(),
        Arc::new(SystemClock),
    );
    soon(cache.ready()).await;
    let mut cursor = cache
        .subscribe(all(), Start::After(fake.revision()), quiet())
        .unwrap();
    assert!(matches!(
        soon(cursor.next()).await,
        Some(Message::Bookmark { last: None, .. })
    ));
    fake.say(Ok(WatchItem::Interrupted));
    let first = fake.put("p/0/b", "1");
    // The adapter repeats itself.
    let again = WatchItem::Changes {
        revision: first,
        events: Vec::new(),
    };
    fake.say(Ok(again));
    fake.say(Err(store::Error::Unavailable {
        message: "gone".into(),
        outcome: Outcome::NotDone,
    }));
    fake.put("p/0/c", "1");
    assert_eq!(told(&soon(cursor.next()).await.unwrap()), ["+b=1"]);
    assert_eq!(told(&soon(cursor.next()).await.unwrap()), ["+c=1"]);
    let stats = cache.stats();
    assert_eq!(stats.duplicates_dropped, 1);
    assert_eq!(stats.interruptions, 1);
    assert_eq!(stats.rewatches, 1);
    assert_eq!((stats.relists, stats.replacements, stats.resets), (0, 0, 0));
    until(|| lineage.asked.lock().unwrap().len() >= 2).await;
    assert_eq!(lineage.asked.lock().unwrap()[0], 0);
}

#[tokio::test]
async fn what_the_store_forgot_is_published_as_one_conflated_difference() {
    let fake = Fake::new();
    fake.write(&[("p/0/a", Some("1")), ("p/0/b", Some("1"))]);
    fake.write(&[("p/0/c", Some("1")), ("p/0/same", Some("1"))]);
    let cache = ready(&fake, quick()).await;
    let before = fake.revision();
    let mut merging = cache
        .subscribe(all(), Start::After(before), quiet())
        .unwrap();
    let exact = Named {
        conflates: false,
        ..all()
    };
    let mut exact = cache
        .subscribe(exact, Start::After(before), quiet())
        .unwrap();
    let elsewhere = Named {
        conflates: false,
        kind: 1,
        ..all()
    };
    let mut elsewhere = cache
        .subscribe(elsewhere, Start::After(before), quiet())
        .unwrap();
    soon(merging.next()).await;
    soon(exact.next()).await;
    soon(elsewhere.next()).await;

    fake.hold(true);
    fake.put("p/0/a", "2");
    fake.delete("p/0/b");
    fake.delete("p/0/c");
    let between = fake.put("p/0/c", "again");
    fake.put("p/0/d", "1");
    let last = fake.delete("p/0/a");
    fake.forget(last);
    fake.hold(false);

    match soon(merging.next()).await.unwrap() {
        Message::Delta {
            prev_revision,
            revision,
            conflated,
            events,
            last_part: true,
        } => {
            assert_eq!((prev_revision, revision, conflated), (before, last, true));
            let mut seen: Vec<_> = events
                .iter()
                .map(|event| (event.item.0.as_str(), event.action))
                .collect();
            seen.sort_by_key(|(name, _)| *name);
            assert_eq!(
                seen,
                [
                    ("a", Action::Deleted(Cause::Deleted)),
                    ("b", Action::Deleted(Cause::Deleted)),
                    ("c", Action::Modified),
                    ("d", Action::Added),
                ]
            );
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        soon(exact.next()).await,
        Some(Message::Reset {
            reason: ResetReason::Behind
        })
    ));
    // Who came from inside the hole cannot be told what happened there.
    let mut inside = cache
        .subscribe(all(), Start::After(between), quiet())
        .unwrap();
    assert!(matches!(
        soon(inside.next()).await,
        Some(Message::Reset {
            reason: ResetReason::Behind
        })
    ));
    // Who is not concerned hears nothing of it.
    fake.put("p/1/x", "1");
    assert_eq!(told(&soon(elsewhere.next()).await.unwrap()), ["+x=1"]);
    let mut expected = names(&ready(&fake, quick()).await);
    expected.sort();
    assert_eq!(names(&cache), expected);
    assert_eq!(cache.stats().relists, 1);
}

#[tokio::test]
async fn a_store_that_went_back_is_found_out_and_everybody_starts_over() {
    let fake = Fake::new();
    fake.put("p/epoch", "1");
    let kept = fake.put("p/0/a", "1");
    let lineage = Witness::of(&fake);
    let cache = start_with(
        fake.clone(),
        lineage.clone(),
        quick(),
        Arc::new(SystemClock),
    );
    soon(cache.ready()).await;
    fake.put("p/0/b", "1");
    let seen = fake.put("p/0/c", "1");
    assert!(cache.reached(seen, Duration::from_secs(5)).await);
    let mut cursor = cache.subscribe(all(), Start::After(kept), quiet()).unwrap();
    assert_eq!(told(&soon(cursor.next()).await.unwrap()), ["+b=1"]);
    assert_eq!(told(&soon(cursor.next()).await.unwrap()), ["+c=1"]);
    let token = cursor.token();

    fake.go_back(kept);
    // Nothing breaks, nothing is written: the idle probe finds it.
    assert!(matches!(
        soon(cursor.next()).await,
        Some(Message::Reset {
            reason: ResetReason::EpochChanged
        })
    ));
    assert_eq!(cursor.token().revision, 0);
    match soon(cursor.next()).await.unwrap() {
        Message::Snapshot { items, .. } => assert_eq!(items.len(), 1),
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        soon(cursor.next()).await,
        Some(Message::SnapshotEnd { .. })
    ));
    assert_ne!(cursor.token().epoch, token.epoch);
    assert!(lineage.asked.lock().unwrap().contains(&seen));
    assert_eq!(names(&cache), ["a"]);
    // The old token is of another epoch, wherever its revision is by now.
    while fake.revision() < token.revision + 5 {
        fake.put("p/0/new", "1");
    }
    let mut resumed = cache
        .subscribe(all(), Start::Resume(token), quiet())
        .unwrap();
    assert!(matches!(
        soon(resumed.next()).await,
        Some(Message::Reset {
            reason: ResetReason::EpochChanged
        })
    ));
    assert!(cache.stats().replacements >= 1);
    let view = cache.read(Freshness::Linearizable).await.unwrap();
    assert_eq!(view.revision, fake.revision());
}

#[tokio::test]
async fn a_history_that_was_rewritten_and_grew_past_ours_is_found_by_its_witness() {
    rewritten(|_, kept| kept, &["a", "b"]).await;
}

#[tokio::test]
async fn a_history_whose_witness_was_written_at_the_same_revision_is_another_one_all_the_same() {
    rewritten(|epoch, _| epoch - 1, &["b"]).await;
}

/// The store goes back to before one of the revisions of its epoch and of a key, gets another epoch
/// from another replica, which was faster, and grows.
async fn rewritten(back_to: impl FnOnce(Revision, Revision) -> Revision, left: &[&str]) {
    let fake = Fake::new();
    let epoch = fake.put("p/epoch", "1");
    let kept = fake.put("p/0/a", "1");
    let lineage = Witness::of(&fake);
    let settings = Settings {
        idle_probe: Duration::from_secs(3600),
        ..quick()
    };
    let cache = start_with(fake.clone(), lineage, settings, Arc::new(SystemClock));
    soon(cache.ready()).await;
    let lost = fake.put("p/0/lost", "1");
    assert!(cache.reached(lost, Duration::from_secs(5)).await);
    fake.hold(true);
    fake.go_back(back_to(epoch, kept));
    fake.put("p/epoch", "2");
    for _ in 0..5 {
        fake.put("p/0/b", "1");
    }
    fake.say(Ok(WatchItem::Interrupted));
    fake.hold(false);
    until(|| cache.view().unwrap().state.epoch == 2).await;
    assert_eq!(names(&cache), left);
    assert_eq!(cache.stats().replacements, 1);
}

#[tokio::test]
async fn a_new_epoch_told_by_an_ordinary_event_resets_cursors() {
    let fake = Fake::new();
    fake.put("p/epoch", "1");
    fake.put("p/0/a", "1");
    let cache = ready(&fake, quick()).await;
    let mut cursor = cache
        .subscribe(all(), Start::After(fake.revision()), quiet())
        .unwrap();
    soon(cursor.next()).await;
    let stale = cursor.token();
    fake.put("p/epoch", "2");
    assert!(matches!(
        soon(cursor.next()).await,
        Some(Message::Reset {
            reason: ResetReason::EpochChanged
        })
    ));
    let mut resumed = cache
        .subscribe(all(), Start::Resume(stale), quiet())
        .unwrap();
    assert!(matches!(
        soon(resumed.next()).await,
        Some(Message::Reset {
            reason: ResetReason::EpochChanged
        })
    ));
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
async fn the_last_clone_dropped_ends_tasks_and_cursors() {
    let fake = Fake::new();
    fake.put("p/0/a", "1");
    let cache = ready(&fake, quick()).await;
    let mut cursor = cache
        .subscribe(all(), Start::After(fake.revision()), quiet())
        .unwrap();
    soon(cursor.next()).await;
    let clone = cache.clone();
    drop(cache);
    let revision = fake.put("p/0/b", "1");
    assert!(clone.reached(revision, Duration::from_secs(5)).await);
    drop(clone);
    assert_eq!(told(&soon(cursor.next()).await.unwrap()), ["+b=1"]);
    assert!(matches!(
        soon(cursor.next()).await,
        Some(Message::Bookmark { last: Some(_), .. })
    ));
    assert!(soon(cursor.next()).await.is_none());
    until(|| Arc::strong_count(&fake) == 1).await;
}

#[tokio::test]
async fn a_listing_that_shows_another_past_replaces_the_state() {
    let fake = Fake::new();
    fake.put("p/0/a", "1");
    let kept = fake.put("p/0/b", "1");
    let settings = Settings {
        idle_probe: Duration::from_secs(3600),
        ..quick()
    };
    let cache = ready(&fake, settings).await;
    let lost = fake.put("p/0/lost", "1");
    assert!(cache.reached(lost, Duration::from_secs(5)).await);
    let mut cursor = cache.subscribe(all(), Start::After(lost), quiet()).unwrap();
    soon(cursor.next()).await;
    fake.hold(true);
    fake.go_back(kept);
    fake.put("p/0/other", "1");
    fake.put("q/outside", "1");
    let last = fake.put("q/outside", "2");
    fake.forget(last);
    fake.hold(false);
    assert!(matches!(
        soon(cursor.next()).await,
        Some(Message::Reset {
            reason: ResetReason::EpochChanged
        })
    ));
    assert_eq!(names(&cache), ["a", "b", "other"]);
}

#[tokio::test]
async fn what_was_made_anew_between_two_listings_is_known_to_whoever_comes_later() {
    let fake = Fake::new();
    fake.write(&[("p/0/remade", Some("1")), ("p/0/then-gone", Some("1"))]);
    let settings = Settings {
        log_revisions: 1,
        ..quick()
    };
    let cache = ready(&fake, settings).await;
    let before = fake.revision();
    fake.hold(true);
    fake.write(&[("p/0/remade", None), ("p/0/then-gone", None)]);
    fake.write(&[("p/0/remade", Some("2")), ("p/0/then-gone", Some("2"))]);
    fake.forget(fake.revision());
    fake.hold(false);
    until(|| cache.stats().relists == 1).await;
    fake.delete("p/0/then-gone");
    let last = fake.put("p/0/new", "1");
    assert!(cache.reached(last, Duration::from_secs(5)).await);
    let mut cursor = cache
        .subscribe(all(), Start::After(before), quiet())
        .unwrap();
    assert_eq!(
        told(&soon(cursor.next()).await.unwrap()),
        ["~remade=2", "-then-gone", "+new=1"]
    );
}
