//! What a selection shows of one state, in parts that a message can hold.

use std::sync::Arc;

use bytes::Bytes;

use super::{Projection, Selection, wire_form::WireForm};

/// The largest snapshot that is kept for the next who asks, in bytes, roughly.
const KEPT_BYTES: usize = 1024 * 1024;

/// A part of a snapshot, told to all who begin while nothing changes.
pub struct Items<T> {
    /// The items, in key order.
    pub items: Vec<T>,
    /// What they look like on the wire.
    pub wire: WireForm,
}

/// All parts of a snapshot.
pub(super) type Picture<T> = Arc<[Arc<Items<T>>]>;

/// A part that is not kept.
pub(super) struct Passage<T> {
    pub(super) items: Vec<T>,
    /// The key after which the next part begins.
    pub(super) last: Bytes,
    weight: usize,
}

/// All that `selection` shows of `state`, unless it is too large to be kept.
pub(super) fn of<P: Projection, S: Selection<P>>(
    state: &P::State,
    selection: &S,
    part_bytes: usize,
) -> Option<Picture<S::Item>> {
    let mut parts = Vec::new();
    let mut bytes = 0;
    let mut after = None;
    while let Some(part) = passage(state, selection, after.as_ref(), part_bytes) {
        bytes += part.weight;
        if bytes > KEPT_BYTES {
            return None;
        }
        after = Some(part.last);
        parts.push(Arc::new(Items {
            items: part.items,
            wire: WireForm::default(),
        }));
    }
    Some(parts.into())
}

/// What comes after the key `after`, of about `part_bytes`; `None` if there is nothing more.
pub(super) fn passage<P: Projection, S: Selection<P>>(
    state: &P::State,
    selection: &S,
    after: Option<&Bytes>,
    part_bytes: usize,
) -> Option<Passage<S::Item>> {
    let mut items = Vec::new();
    let mut weight = 0;
    let mut last = None;
    for (key, item) in selection.list(state, after) {
        let Some(shown) = selection.select(&item) else {
            continue;
        };
        let more = P::weight(&item);
        if !items.is_empty() && weight + more > part_bytes {
            break;
        }
        weight += more;
        items.push(shown);
        last = Some(key);
    }
    Some(Passage {
        items,
        last: last?,
        weight,
    })
}
