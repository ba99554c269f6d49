//! Changes of several items, together or not at all.

use std::collections::BTreeSet;

use crate::domain::Error;

use super::{
    super::{
        Configs,
        change::{Entry, Order, Terms},
    },
    Committed,
};

/// How many items may be changed together: each needs one of the conditions that a transaction may
/// have, and a guard needs some too.
const MAX_ENTRIES: usize = 100;

// === impl Configs ===

impl Configs {
    /// Makes all changes if all items are as expected, or else says what is there.
    ///
    /// Errors: as [`Configs::put`] and [`Configs::roll_back`], but for mismatches; and
    /// [`Error::Invalid`] for none, too many or too large changes, and for two of one item.
    pub async fn commit(&self, entries: Vec<Entry>, terms: Terms) -> Result<Committed, Error> {
        check(&entries)?;
        if let Some(at) = entries.iter().position(|entry| entry.draft.is_some()) {
            let field = format!("changes[{at}].draft");
            return Err(Error::invalid(field, "can only be published in a release"));
        }
        self.write(&Order::listed(entries, terms)).await
    }
}

/// Refuses what could not be one transaction.
pub(in super::super) fn check(entries: &[Entry]) -> Result<(), Error> {
    let count = entries.len();
    if count == 0 || count > MAX_ENTRIES {
        let description = format!("must have 1 to {MAX_ENTRIES} entries, has {count}");
        return Err(Error::invalid("changes", description));
    }
    let mut paths = BTreeSet::new();
    for (at, entry) in entries.iter().enumerate() {
        if !paths.insert(&entry.path) {
            let field = format!("changes[{at}].key");
            return Err(Error::invalid(field, "is that of another change"));
        }
        if entry.change.is_none() && entry.draft.is_none() && entry.expected == Default::default() {
            let description = "says neither what to do nor what to expect";
            return Err(Error::invalid(format!("changes[{at}]"), description));
        }
    }
    Ok(())
}
