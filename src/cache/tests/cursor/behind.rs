//! Watchers that are behind the log, and how long that is.

use super::*;
use crate::cache::topic::{Found, Position};

#[tokio::test]
async fn a_watcher_behind_the_log_is_told_the_difference() {
    let fake = Fake::new();
    for name in ["changed", "deleted", "hidden", "remade", "same", "ghost"] {
        fake.put(&format!("p/0/{name}"), "1");
    }
    fake.put("p/0/unseen", "-1");
    let cache = ready(&fake, short_log(2)).await;
    let selection = Named {
        visible_only: true,
        remnants: true,
        ..all()
    };
    let mut cursor = following(&cache, selection.clone(), quiet()).await;
    fake.put("p/0/changed", "2");
    fake.delete("p/0/deleted");
    fake.put("p/0/hidden", "-2");
    fake.delete("p/0/remade");
    fake.delete("p/0/unseen");
    fake.put("p/0/ghost", "-2");
    fake.delete("p/0/ghost");
    fake.put("p/0/fleeting", "1");
    fake.delete("p/0/fleeting");
    fake.put("p/0/remade", "2");
    let last = fake.put("p/0/added", "1");
    reached(&cache, last).await;
    assert_eq!(
        next(&mut cursor).await,
        "~changed=2 -deleted !hidden=-2 -ghost ~remade=2 +added=1 conflated"
    );
    assert_eq!(cursor.token().revision, last);
    assert!(silent(&mut cursor).await);
    fake.put("p/0/same", "2");
    assert_eq!(next(&mut cursor).await, "~same=2");
    assert_eq!(cache.stats().differences, 1);
}

#[tokio::test]
async fn a_delta_in_parts_that_was_begun_is_told_whole_though_the_log_forgets_it() {
    let fake = Fake::new();
    let cache = ready(&fake, short_log(2)).await;
    let options = CursorOptions {
        part_bytes: 1,
        ..quiet()
    };
    let mut cursor = following(&cache, all(), options).await;
    let both = fake.write(&[("p/0/a", Some("1")), ("p/0/b", Some("1"))]);
    reached(&cache, both).await;
    assert_eq!(next(&mut cursor).await, "+a=1 ...");
    for value in ["2", "3", "4", "5"] {
        let last = fake.put("p/0/c", value);
        reached(&cache, last).await;
    }
    assert_eq!(next(&mut cursor).await, "+b=1");
    assert_eq!(cursor.token().revision, both);
    assert_eq!(next(&mut cursor).await, "+c=5 conflated");
    let last = fake.put("p/0/d", "1");
    reached(&cache, last).await;
    assert_eq!(next(&mut cursor).await, "+d=1");
}

#[tokio::test]
async fn a_difference_that_cannot_be_told_is_a_reset() {
    let fake = Fake::new();
    fake.put("p/0/hidden", "1");
    let cache = ready(&fake, short_log(2)).await;
    let visible = Named {
        visible_only: true,
        ..all()
    };
    let exact = Named {
        conflates: false,
        ..all()
    };
    let mut visible = following(&cache, visible, quiet()).await;
    let mut exact = following(&cache, exact, quiet()).await;
    let mut everything = following(&cache, all(), quiet()).await;
    fake.put("p/0/hidden", "-2");
    for value in ["1", "2", "3"] {
        let revision = fake.put("p/0/other", value);
        reached(&cache, revision).await;
    }
    // How the hidden one looked when it was visible is forgotten.
    assert_eq!(next(&mut visible).await, "reset Behind");
    assert_eq!(next(&mut visible).await, "snapshot other");
    // A queue must not be conflated.
    assert_eq!(next(&mut exact).await, "reset Behind");
    assert_eq!(next(&mut everything).await, "~hidden=-2 +other=3 conflated");
}

#[tokio::test]
async fn behind_the_deletions_too_a_watcher_starts_over() {
    let fake = Fake::new();
    let cache = ready(&fake, short_log(2)).await;
    let mut cursor = following(&cache, all(), quiet()).await;
    for _ in 0..9 {
        fake.put("p/0/a", "1");
        let revision = fake.delete("p/0/a");
        reached(&cache, revision).await;
    }
    assert_eq!(next(&mut cursor).await, "reset Behind");
    assert_eq!(next(&mut cursor).await, "whole");
}

#[tokio::test]
async fn a_busy_kind_does_not_shorten_the_history_of_a_quiet_one() {
    let fake = Fake::new();
    let cache = ready(&fake, short_log(2)).await;
    let mut cursor = following(&cache, all(), quiet()).await;
    fake.put("p/0/a", "1");
    fake.put("p/0/a", "2");
    for _ in 0..20 {
        let revision = fake.put("p/1/churn", "1");
        reached(&cache, revision).await;
    }
    assert_eq!(next(&mut cursor).await, "+a=1");
    assert_eq!(next(&mut cursor).await, "~a=2");
}

#[tokio::test]
async fn the_log_is_bounded_by_bytes_and_age_too() {
    let fake = Fake::new();
    let settings = Settings {
        log_bytes: 1000,
        log_age: Duration::from_secs(60),
        ..Settings::default()
    };
    let (cache, clock) = ready_by_clock(&fake, settings).await;
    let mut old = following(&cache, all(), quiet()).await;
    fake.put("p/0/a", "1");
    let revision = fake.put("p/0/a", "2");
    reached(&cache, revision).await;
    clock.advance(Duration::from_secs(61));
    let revision = fake.put("p/0/b", "1");
    reached(&cache, revision).await;
    assert_eq!(next(&mut old).await, "+a=2 +b=1 conflated");
    let large = "x".repeat(900);
    fake.put("p/0/c", &large);
    let revision = fake.put("p/0/c", "small");
    reached(&cache, revision).await;
    assert_eq!(next(&mut old).await, "+c=small conflated");
}

#[tokio::test]
async fn who_looks_at_less_than_others_have_seen_is_not_told_that_it_saw_all() {
    let fake = Fake::new();
    let cache = ready(&fake, quick()).await;
    let begun = cache.view().unwrap().revision;
    let first = fake.put("p/0/a", "1");
    reached(&cache, first).await;
    let old = cache.shared.published().unwrap();
    let second = fake.put("p/0/b", "1");
    reached(&cache, second).await;
    let new = cache.shared.published().unwrap();
    let topic = cache.shared.topics.of(all());
    let after = |published: &_, at| {
        let now = cache.shared.now();
        topic.after(published, Position::at(at), usize::MAX, now)
    };
    assert!(matches!(after(&new, second), Found::Nothing(seen) if seen == second));
    assert!(matches!(after(&old, begun), Found::Nothing(seen) if seen == begun));
    let Found::Run(run) = after(&new, begun) else {
        panic!("nothing is told");
    };
    assert_eq!(run.messages.len(), 2);
}
