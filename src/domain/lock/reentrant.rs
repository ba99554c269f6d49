//! Acquiring a lock again by whoever holds it: one place for each owner within a session, and in its
//! record every request that holds it. The last one to be released takes the place along.

use std::borrow::Cow;

use bytes::Bytes;

use crate::{
    domain::{
        Core, Revised, error::Error, guard::Guard, keyspace::QueuePath, records, revise::Step,
        state::View,
    },
    store::{Compare, Operation, Txn},
};

use super::{Claim, Waiter, release::find_key};

/// How many requests may hold a lock for one owner: all stand in one record.
pub const MAX_HOLDS: usize = 64;

/// A request that holds a lock for its owner, or waits for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The request.
    pub request_id: String,
    /// Names its last call, which alone may give it up.
    pub call: u64,
}

/// Whose a place is within its session: an owner's, or else a request's. No request is called like
/// an owner, because no id has control characters.
pub(super) fn identity<'a>(owner: Option<&str>, request_id: &'a str) -> Cow<'a, str> {
    match owner {
        None => request_id.into(),
        Some(owner) => format!("\0{owner}").into(),
    }
}

/// The holds of a place once a call of `request_id` is among them. A repeated request counts once.
pub(super) fn joined(
    lock: &QueuePath,
    holds: &[Hold],
    request_id: &str,
    call: u64,
) -> Result<Vec<Hold>, Error> {
    let others = holds.iter().filter(|hold| hold.request_id != request_id);
    let mut holds: Vec<_> = others.cloned().collect();
    if holds.len() >= MAX_HOLDS {
        return Err(Error::TooManyHolds {
            name: lock.path(),
            limit: MAX_HOLDS,
        });
    }
    holds.push(Hold {
        request_id: request_id.into(),
        call,
    });
    Ok(holds)
}

/// Takes a hold away, and the place with the last one, of which `last` hears before; says whether it
/// was there. Only as long as others are left is there something to write.
pub(super) async fn leave(
    core: &Core,
    lock: &QueuePath,
    key: &Bytes,
    guard: Option<&Guard>,
    mine: impl Fn(&Hold) -> bool,
    last: impl Fn(&Claim),
) -> Result<Revised<bool>, Error> {
    let decide = |view: &View| {
        let Some(claim) = find_key(view, lock, key) else {
            return Ok(Step::Keep(false));
        };
        let seen = &claim.waiter;
        let others = seen.holds.iter().filter(|hold| !mine(hold));
        let others: Vec<_> = others.cloned().collect();
        if others.len() == seen.holds.len() {
            return Ok(Step::Keep(false));
        }
        let txn = Txn::new().when(Compare::mod_revision(key.clone(), seen.mod_revision));
        if others.is_empty() {
            last(&claim);
            return Ok(Step::Send(txn.then(Operation::delete(key.clone())), true));
        }
        records::writable(format!("a place in {lock}"), seen.format)?;
        let left = records::encode_waiter(&Waiter {
            holds: others,
            ..seen.clone()
        });
        Ok(Step::Send(
            txn.then(Operation::overwrite(key.clone(), left)),
            true,
        ))
    };
    core.revise(&lock.path(), guard, decide).await
}
