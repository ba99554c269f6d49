//! What delays locks in the state.

use bytes::Bytes;

use crate::{
    domain::{
        keyspace::QueuePath,
        lock::{LockDelay, LockQueue},
        records,
    },
    store::KeyValue,
};

use super::{State, TouchedQueues, replace, touch};

/// Something stands beside a claim, or is left of one.
pub(in crate::domain::state) fn put(
    state: &mut State,
    touched: &mut TouchedQueues,
    path: QueuePath,
    claim: Bytes,
    kv: &KeyValue,
) -> Result<(), records::DecodeError> {
    let (delay, result) = match records::lock_delay(path.clone(), claim.clone(), kv) {
        Ok(delay) => (delay, Ok(())),
        Err(error) => {
            let delay = LockDelay::unreadable(path.clone(), claim, kv.mod_revision);
            (delay, Err(error))
        }
    };
    let mut queue = touch(state, touched, &path).unwrap_or_else(|| LockQueue::new(path.clone()));
    queue.put_delay(delay);
    replace(state, &path, queue);
    result
}

pub(in crate::domain::state) fn delete(
    state: &mut State,
    touched: &mut TouchedQueues,
    path: &QueuePath,
    claim: &[u8],
) {
    if let Some(mut queue) = touch(state, touched, path) {
        queue.remove_delay(claim);
        replace(state, path, queue);
    }
}

/// Notes what delays the lock now instead of what did.
pub(super) fn note(state: &mut State, before: Option<&LockQueue>, after: &LockQueue) {
    for delay in before.iter().flat_map(|before| before.orphans.values()) {
        state.delayed.remove(&delay.claim);
    }
    for delay in after.orphans.values() {
        state.delayed.insert(delay.claim.clone(), delay.clone());
    }
}
