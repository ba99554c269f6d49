//! Following the store over interruptions, and over what it forgot.

use super::*;

#[tokio::test]
async fn a_history_is_confirmed_only_when_the_watch_is_there_again() {
    let fake = Fake::new();
    fake.put("p/0/a", "1");
    let lineage = Witness::of(&fake);
    let cache = confirmed_by(&lineage, &fake, quick()).await;
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
    let cache = confirmed_by(&lineage, &fake, quick()).await;
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
    starts_over(&mut exact, ResetReason::Behind).await;
    // Who came from inside the hole cannot be told what happened there.
    let mut inside = cache
        .subscribe(all(), Start::After(between), quiet())
        .unwrap();
    starts_over(&mut inside, ResetReason::Behind).await;
    // Who is not concerned hears nothing of it.
    fake.put("p/1/x", "1");
    assert_eq!(told(&soon(elsewhere.next()).await.unwrap()), ["+x=1"]);
    let mut expected = names(&ready(&fake, quick()).await);
    expected.sort();
    assert_eq!(names(&cache), expected);
    assert_eq!(cache.stats().relists, 1);
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
