//! What a watcher is told.

mod behind;
mod memory;
mod pace;
mod resuming;
mod telling;

use std::time::Duration;

use super::{
    fake::Fake,
    quick, quiet, ready, ready_by_clock, soon,
    toy::{Cause, Named, Shown, Toy, all},
};
use crate::{
    cache::{
        Action, Cache, Cursor, CursorOptions, Error, FinalReason, Message, Settings, Start, Token,
    },
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
