//! Another history: found out, and told to everybody.

use super::*;

#[tokio::test]
async fn a_store_that_went_back_is_found_out_and_everybody_starts_over() {
    let fake = Fake::new();
    fake.put("p/epoch", "1");
    let kept = fake.put("p/0/a", "1");
    let lineage = Witness::of(&fake);
    let cache = confirmed_by(&lineage, &fake, quick()).await;
    fake.put("p/0/b", "1");
    let seen = fake.put("p/0/c", "1");
    assert!(cache.reached(seen, Duration::from_secs(5)).await);
    let mut cursor = cache.subscribe(all(), Start::After(kept), quiet()).unwrap();
    assert_eq!(told(&soon(cursor.next()).await.unwrap()), ["+b=1"]);
    assert_eq!(told(&soon(cursor.next()).await.unwrap()), ["+c=1"]);
    let token = cursor.token();

    fake.go_back(kept);
    // Nothing breaks, nothing is written: the idle probe finds it.
    starts_over(&mut cursor, ResetReason::EpochChanged).await;
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
    starts_over(&mut resumed, ResetReason::EpochChanged).await;
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
    let cache = confirmed_by(&lineage, &fake, settings).await;
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
    starts_over(&mut cursor, ResetReason::EpochChanged).await;
    let mut resumed = cache
        .subscribe(all(), Start::Resume(stale), quiet())
        .unwrap();
    starts_over(&mut resumed, ResetReason::EpochChanged).await;
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
    starts_over(&mut cursor, ResetReason::EpochChanged).await;
    assert_eq!(names(&cache), ["a", "b", "other"]);
}
