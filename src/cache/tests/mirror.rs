//! Listing, watching, and starting over: the task that follows the store.

mod following;
mod listing;
mod starting_over;

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
    cache::{Action, Cache, Cursor, Error, Freshness, Message, ResetReason, Settings, Start},
    clock::SystemClock,
    store::{self, Outcome, Revision, WatchItem},
};

type Seen = Message<(String, String, i64), Cause>;

pub(super) fn names(cache: &Cache<Toy>) -> Vec<String> {
    let view = cache.view().unwrap();
    view.state.kinds[0].values().map(|kv| shown(kv).0).collect()
}

/// A cache that is ready, whose history somebody confirms.
async fn confirmed_by(lineage: &Arc<Witness>, fake: &Arc<Fake>, settings: Settings) -> Cache<Toy> {
    let clock = Arc::new(SystemClock);
    let cache = start_with(fake.clone(), lineage.clone(), settings, clock);
    soon(cache.ready()).await;
    cache
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

/// The next that a watcher is told is that it starts over, and why.
async fn starts_over(cursor: &mut Cursor<Toy, Named>, because: ResetReason) {
    let told = soon(cursor.next()).await;
    assert!(
        matches!(told, Some(Message::Reset { reason }) if reason == because),
        "{told:?} instead of {because:?}"
    );
}
