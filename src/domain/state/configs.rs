//! Config items in the state.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    cache::Change,
    domain::{config::ConfigHead, keyspace::ConfigPath},
};

use super::{Cause, Item, Kind, State, StateProjection};

pub(super) fn put(state: &mut State, changes: &mut Vec<Change<StateProjection>>, head: ConfigHead) {
    let path = Bytes::from(head.path.path());
    let head = Arc::new(head);
    let before = state.configs.insert(path.clone(), head.clone());
    push(changes, path, before, Some(head));
}

pub(super) fn delete(
    state: &mut State,
    changes: &mut Vec<Change<StateProjection>>,
    path: &ConfigPath,
) {
    let path = Bytes::from(path.path());
    let before = state.configs.remove(&path);
    push(changes, path, before, None);
}

fn push(
    changes: &mut Vec<Change<StateProjection>>,
    key: Bytes,
    before: Option<Arc<ConfigHead>>,
    after: Option<Arc<ConfigHead>>,
) {
    let visible =
        |head: Option<Arc<ConfigHead>>| head.filter(|head| !head.current.deleted).map(Item::Config);
    let (before, after) = (visible(before), visible(after));
    if before.is_some() || after.is_some() {
        changes.push(Change {
            kind: Kind::Config as usize,
            key,
            before,
            after,
            cause: Cause::Deleted,
        });
    }
}
