//! What a watcher is told.
//!
//! One surface, the cursor, so one file.

use std::{sync::Arc, time::Duration};

use super::{
    Witness,
    fake::Fake,
    quick, quiet, ready, soon, start_with,
    toy::{Cause, Named, Shown, Toy, all},
};
use crate::{
    cache::{
        Action, Cache, Cursor, CursorOptions, Error, FinalReason, Message, Settings, Start, Token,
    },
    clock::ManualClock,
    store::Revision,
};

type Seen = Message<Shown, Cause>;

/// How long to wait for what must happen.
const PATIENCE: Duration = Duration::from_secs(5);

/// A message as text.
fn text(message: Option<Seen>) -> String {
    match message {
        None => "end".into(),
        Some(Message::Snapshot { items, .. }) => {
            let names: Vec<_> = items.into_iter().map(|item| item.0).collect();
            format!("snapshot {}", names.join(" "))
        }
        Some(Message::SnapshotEnd { .. }) => "whole".into(),
        Some(Message::Reset { reason }) => format!("reset {reason:?}"),
        Some(Message::Bookmark { last: None, .. }) => "bookmark".into(),
        Some(Message::Bookmark {
            last: Some(reason), ..
        }) => format!("final {reason:?}"),
        Some(Message::Delta {
            events,
            conflated,
            last_part,
            ..
        }) => {
            let mut words = Vec::new();
            for event in events {
                let (name, value, _) = event.item;
                words.push(match event.action {
                    Action::Added => format!("+{name}={value}"),
                    Action::Modified => format!("~{name}={value}"),
                    Action::Deleted(Cause::Deleted) => format!("-{name}"),
                    Action::Deleted(Cause::Filtered) => format!("!{name}={value}"),
                });
            }
            if conflated {
                words.push("conflated".into());
            }
            if !last_part {
                words.push("...".into());
            }
            words.join(" ")
        }
    }
}

async fn next(cursor: &mut Cursor<Toy, Named>) -> String {
    text(soon(cursor.next()).await)
}

/// Says that nothing is there to be told.
async fn silent(cursor: &mut Cursor<Toy, Named>) -> bool {
    tokio::time::timeout(Duration::from_millis(20), cursor.next())
        .await
        .is_err()
}

async fn reached(cache: &Cache<Toy>, revision: Revision) {
    assert!(cache.reached(revision, Duration::from_secs(5)).await);
}

/// A cursor that has told that there is nothing to tell.
async fn following(
    cache: &Cache<Toy>,
    selection: Named,
    options: CursorOptions,
) -> Cursor<Toy, Named> {
    let revision = cache.view().unwrap().revision;
    let mut cursor = cache
        .subscribe(selection, Start::After(revision), options)
        .unwrap();
    assert_eq!(next(&mut cursor).await, "bookmark");
    cursor
}

fn short_log(revisions: usize) -> Settings {
    Settings {
        log_revisions: revisions,
        ..quick()
    }
}

#[tokio::test]
async fn a_watch_begins_with_a_snapshot_in_parts_and_goes_on_with_one_delta_per_revision() {
    let fake = Fake::new();
    for name in ["a", "b", "c"] {
        fake.put(&format!("p/0/{name}"), "0123456789");
    }
    let cache = ready(&fake, quick()).await;
    let options = CursorOptions {
        part_bytes: 35,
        ..quiet()
    };
    let mut cursor = cache.subscribe(all(), Start::Snapshot, options).unwrap();
    assert_eq!(next(&mut cursor).await, "snapshot a b");
    assert_eq!(cursor.token().revision, 0);
    // Pinned: this belongs to what follows.
    let pinned = fake.revision();
    let changed = fake.put("p/0/c", "x");
    reached(&cache, changed).await;
    assert_eq!(next(&mut cursor).await, "snapshot c");
    let end = soon(cursor.next()).await;
    assert!(matches!(end, Some(Message::SnapshotEnd { revision }) if revision == pinned));
    assert_eq!(cursor.token().revision, pinned);
    assert_eq!(next(&mut cursor).await, "~c=x");
    assert_eq!(cursor.token().revision, changed);

    let both = fake.write(&[("p/0/a", None), ("p/0/d", Some("1"))]);
    fake.put("p/1/other", "1");
    fake.put("p/0/d", "2");
    match soon(cursor.next()).await {
        Some(Message::Delta {
            prev_revision,
            revision,
            ..
        }) => assert_eq!((prev_revision, revision), (changed, both)),
        other => panic!("{other:?}"),
    }
    match soon(cursor.next()).await {
        Some(Message::Delta { prev_revision, .. }) => assert_eq!(prev_revision, both),
        other => panic!("{other:?}"),
    }
    assert!(silent(&mut cursor).await);
}

#[tokio::test]
async fn what_does_not_concern_the_watcher_is_not_told() {
    let fake = Fake::new();
    let cache = ready(&fake, quick()).await;
    let narrow = Named {
        name: "web",
        visible_only: true,
        ..all()
    };
    let mut cursor = following(&cache, narrow, quiet()).await;
    fake.put("p/0/api", "1");
    fake.put("p/1/web", "1");
    fake.put("p/0/web1", "-hidden");
    fake.put("p/0/web1", "-still");
    fake.delete("p/0/web1");
    assert!(silent(&mut cursor).await);
    fake.put("p/0/web2", "-hidden");
    fake.put("p/0/web2", "shown");
    fake.put("p/0/web2", "other");
    fake.put("p/0/web2", "-hidden");
    fake.delete("p/0/web2");
    assert_eq!(next(&mut cursor).await, "+web2=shown");
    assert_eq!(next(&mut cursor).await, "~web2=other");
    assert_eq!(next(&mut cursor).await, "!web2=other");
    assert!(silent(&mut cursor).await);
}

#[tokio::test]
async fn a_large_delta_comes_in_parts_and_its_token_with_the_last() {
    let fake = Fake::new();
    let cache = ready(&fake, quick()).await;
    let options = CursorOptions {
        part_bytes: 20,
        ..quiet()
    };
    let mut cursor = following(&cache, all(), options.clone()).await;
    let before = cursor.token();
    let writes: Vec<(String, String)> = (0..5)
        .map(|name| (format!("p/0/{name}"), "xxxx".to_owned()))
        .collect();
    let writes: Vec<_> = writes
        .iter()
        .map(|(key, value)| (key.as_str(), Some(value.as_str())))
        .collect();
    let revision = fake.write(&writes);
    assert_eq!(next(&mut cursor).await, "+0=xxxx +1=xxxx ...");
    assert_eq!(cursor.token(), before);
    assert_eq!(next(&mut cursor).await, "+2=xxxx +3=xxxx ...");
    assert_eq!(next(&mut cursor).await, "+4=xxxx");
    assert_eq!(cursor.token().revision, revision);
    // Cut between parts, the delta comes again, whole.
    let mut resumed = cache
        .subscribe(all(), Start::Resume(before), options)
        .unwrap();
    assert_eq!(next(&mut resumed).await, "+0=xxxx +1=xxxx ...");
}

#[tokio::test]
async fn a_resumed_watch_with_nothing_to_tell_says_so_at_once() {
    let fake = Fake::new();
    fake.put("p/0/a", "1");
    let cache = ready(&fake, quick()).await;
    let view = cache.view().unwrap();
    let token = cache.token(&view, &all());
    let outside = fake.put("p/1/b", "1");
    reached(&cache, outside).await;
    let mut cursor = cache
        .subscribe(all(), Start::Resume(token), quiet())
        .unwrap();
    assert!(matches!(
        soon(cursor.next()).await,
        Some(Message::Bookmark { revision, last: None }) if revision == outside
    ));
    assert!(silent(&mut cursor).await);
    // A token from before the end of a snapshot begins it again.
    let unfinished = Token {
        revision: 0,
        ..token
    };
    let mut cursor = cache
        .subscribe(all(), Start::Resume(unfinished), quiet())
        .unwrap();
    assert_eq!(next(&mut cursor).await, "snapshot a");
}

#[tokio::test]
async fn a_token_of_another_selection_is_refused() {
    let fake = Fake::new();
    let revision = fake.put("p/0/a", "1");
    let cache = ready(&fake, quick()).await;
    let token = cache.token(&cache.view().unwrap(), &all());
    assert_eq!(token.revision, revision);
    let other = Named {
        name: "web",
        ..all()
    };
    let refused = cache.subscribe(other, Start::Resume(token), quiet());
    assert_eq!(
        refused.err(),
        Some(Error::Token("belongs to another selection"))
    );
}

#[tokio::test]
async fn a_watcher_ahead_of_the_replica_waits_for_it_and_starts_over_if_it_does_not_come() {
    let fake = Fake::new();
    fake.put("p/0/a", "1");
    let clock = ManualClock::default();
    let cache = start_with(
        fake.clone(),
        Arc::new(Witness::default()),
        Settings::default(),
        Arc::new(clock.clone()),
    );
    soon(cache.ready()).await;
    let token = cache.token(&cache.view().unwrap(), &all());
    let ahead = Token {
        revision: token.revision + 2,
        ..token
    };
    let mut patient = cache
        .subscribe(all(), Start::Resume(ahead), quiet())
        .unwrap();
    assert!(silent(&mut patient).await);
    fake.put("p/0/b", "1");
    fake.put("p/0/c", "1");
    fake.put("p/0/d", "1");
    assert_eq!(next(&mut patient).await, "+d=1");

    let ahead = Token {
        revision: fake.revision() + 1,
        ..token
    };
    let mut disappointed = cache
        .subscribe(all(), Start::Resume(ahead), quiet())
        .unwrap();
    assert!(silent(&mut disappointed).await);
    clock.advance(Duration::from_secs(3));
    assert_eq!(next(&mut disappointed).await, "reset Ahead");
    assert_eq!(next(&mut disappointed).await, "snapshot a b c d");
    assert_eq!(next(&mut disappointed).await, "whole");
    assert_eq!(cache.stats().subscribers, 2);
}

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
async fn a_reader_that_comes_back_to_quiet_is_told_that_nothing_happened() {
    let fake = Fake::new();
    let clock = ManualClock::default();
    let cache = start_with(
        fake.clone(),
        Arc::new(Witness::default()),
        quick(),
        Arc::new(clock.clone()),
    );
    soon(cache.ready()).await;
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
    let clock = ManualClock::default();
    let settings = Settings {
        log_bytes: 1000,
        log_age: Duration::from_secs(60),
        ..Settings::default()
    };
    let cache = start_with(
        fake.clone(),
        Arc::new(Witness::default()),
        settings,
        Arc::new(clock.clone()),
    );
    soon(cache.ready()).await;
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
async fn bursts_are_merged_per_thing_when_asked_for() {
    let fake = Fake::new();
    fake.put("p/0/a", "1");
    let clock = ManualClock::default();
    let cache = start_with(
        fake.clone(),
        Arc::new(Witness::default()),
        Settings::default(),
        Arc::new(clock.clone()),
    );
    soon(cache.ready()).await;
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
async fn quiet_is_broken_by_bookmarks_that_advance_the_token() {
    let fake = Fake::new();
    let clock = ManualClock::default();
    let cache = start_with(
        fake.clone(),
        Arc::new(Witness::default()),
        Settings::default(),
        Arc::new(clock.clone()),
    );
    soon(cache.ready()).await;
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
    let clock = ManualClock::default();
    let cache = start_with(
        fake.clone(),
        Arc::new(Witness::default()),
        Settings::default(),
        Arc::new(clock.clone()),
    );
    soon(cache.ready()).await;
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
