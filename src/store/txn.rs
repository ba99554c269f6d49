//! Transactions of the store port: compare, then one of two branches.

use bytes::Bytes;

use super::{
    KeyRange, LeaseId, MAX_TXN_BYTES, MAX_TXN_OPERATIONS, RangeRequest, RangeResponse, Revision,
    error::Error,
};

/// A transaction. All compares, those of nested transactions too, are made before anything is
/// written.
#[derive(Debug, Clone, Default)]
pub struct Txn {
    /// All must hold for `success` to run.
    pub compares: Vec<Compare>,
    /// What is done if they do.
    pub success: Vec<Operation>,
    /// What is done if one does not.
    pub failure: Vec<Operation>,
}

/// A condition on every key of a range. A range without keys, like a single absent key, counts as
/// one key with all numbers `0`; no condition on its value holds.
#[derive(Debug, Clone)]
pub struct Compare {
    /// The keys.
    pub keys: KeyRange,
    /// How the key's side relates to the given one.
    pub relation: Relation,
    /// What is compared, and with what.
    pub target: Target,
}

/// How the key's side of a [`Compare`] must relate to the given one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// The same.
    Equal,
    /// Anything else.
    NotEqual,
    /// The key's is greater.
    Greater,
    /// The key's is less.
    Less,
}

/// What a [`Compare`] looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// [`super::KeyValue::create_revision`].
    CreateRevision(Revision),
    /// [`super::KeyValue::mod_revision`].
    ModRevision(Revision),
    /// [`super::KeyValue::version`].
    Version(i64),
    /// [`super::KeyValue::value`].
    Value(Bytes),
    /// [`super::KeyValue::lease`].
    Lease(LeaseId),
}

/// One step of a branch.
#[derive(Debug, Clone)]
pub enum Operation {
    /// Writes a key, under `lease` (`0`: under none, which detaches it from the one it had).
    Put {
        /// The key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
        /// The lease it hangs on from now.
        lease: LeaseId,
    },
    /// Overwrites a key and leaves it on its lease. The key must exist: a branch that does this
    /// needs a compare for it, else the transaction is [`Error::Invalid`] as a whole.
    Overwrite {
        /// The key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
    },
    /// Deletes keys.
    Delete(KeyRange),
    /// Reads keys as this transaction sees them: writes of earlier steps included.
    Range(RangeRequest),
    /// A transaction inside.
    Txn(Txn),
}

/// What came of a [`Txn`].
#[derive(Debug, Clone)]
pub struct TxnResponse {
    /// True if all compares held.
    pub succeeded: bool,
    /// The store's revision after it.
    pub revision: Revision,
    /// One answer to each operation of the branch that ran.
    pub responses: Vec<OperationResponse>,
}

/// What came of one [`Operation`].
#[derive(Debug, Clone)]
pub enum OperationResponse {
    /// Of a put or an overwrite.
    Put,
    /// Of a deletion: how many keys went.
    Delete(usize),
    /// Of a read.
    Range(RangeResponse),
    /// Of a nested transaction.
    Txn(TxnResponse),
}

// === impl Txn ===

impl Txn {
    /// A transaction without conditions that does nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition.
    pub fn when(mut self, compare: Compare) -> Self {
        self.compares.push(compare);
        self
    }

    /// Adds conditions.
    pub fn when_all(mut self, compares: impl IntoIterator<Item = Compare>) -> Self {
        self.compares.extend(compares);
        self
    }

    /// Adds a step to do if all conditions hold.
    pub fn then(mut self, operation: Operation) -> Self {
        self.success.push(operation);
        self
    }

    /// Adds steps to do if all conditions hold.
    pub fn then_all(mut self, operations: impl IntoIterator<Item = Operation>) -> Self {
        self.success.extend(operations);
        self
    }

    /// Adds a step to do if one does not.
    pub fn otherwise(mut self, operation: Operation) -> Self {
        self.failure.push(operation);
        self
    }

    /// Refuses what etcd would refuse, before anything is sent: more than
    /// [`MAX_TXN_OPERATIONS`] operations or [`MAX_TXN_BYTES`] bytes.
    pub fn check_size(&self) -> Result<(), Error> {
        self.check_operations(MAX_TXN_OPERATIONS)?;
        let bytes = self.bytes();
        if bytes > MAX_TXN_BYTES {
            return Err(Error::Invalid(format!(
                "a transaction of {bytes} bytes is above the limit of {MAX_TXN_BYTES}"
            )));
        }
        Ok(())
    }

    fn check_operations(&self, budget: usize) -> Result<(), Error> {
        let widest = self
            .compares
            .len()
            .max(self.success.len())
            .max(self.failure.len());
        let Some(left) = budget.checked_sub(widest) else {
            return Err(Error::Invalid(format!(
                "a transaction has {widest} operations where {budget} are allowed"
            )));
        };
        for operation in self.success.iter().chain(&self.failure) {
            if let Operation::Txn(nested) = operation {
                nested.check_operations(left)?;
            }
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        let range = |keys: &KeyRange| keys.start.len() + keys.end.as_ref().map_or(0, Bytes::len);
        let compares = self.compares.iter().map(|compare| {
            range(&compare.keys)
                + match &compare.target {
                    Target::Value(value) => value.len(),
                    _ => 8,
                }
        });
        let operations =
            self.success
                .iter()
                .chain(&self.failure)
                .map(|operation| match operation {
                    Operation::Put { key, value, .. } | Operation::Overwrite { key, value } => {
                        key.len() + value.len()
                    }
                    Operation::Delete(keys) => range(keys),
                    Operation::Range(request) => range(&request.keys),
                    Operation::Txn(nested) => nested.bytes(),
                });
        compares.chain(operations).sum()
    }
}

// === impl Compare ===

impl Compare {
    /// The key does not exist.
    pub fn absent(key: impl Into<Bytes>) -> Self {
        Self::key(key, Relation::Equal, Target::CreateRevision(0))
    }

    /// The key exists.
    pub fn exists(key: impl Into<Bytes>) -> Self {
        Self::key(key, Relation::Greater, Target::CreateRevision(0))
    }

    /// The key was last written at `revision` (`0`: it does not exist).
    pub fn mod_revision(key: impl Into<Bytes>, revision: Revision) -> Self {
        Self::key(key, Relation::Equal, Target::ModRevision(revision))
    }

    /// The key was created at `revision` and has existed since (`0`: it does not exist).
    pub fn create_revision(key: impl Into<Bytes>, revision: Revision) -> Self {
        Self::key(key, Relation::Equal, Target::CreateRevision(revision))
    }

    /// No key of the range exists.
    pub fn empty(keys: KeyRange) -> Self {
        Self {
            keys,
            relation: Relation::Less,
            target: Target::CreateRevision(1),
        }
    }

    /// Every key of the range was created at `revision` or later.
    pub fn none_older(keys: KeyRange, revision: Revision) -> Self {
        Self {
            keys,
            relation: Relation::Greater,
            target: Target::CreateRevision(revision - 1),
        }
    }

    /// No key of the range was written after `revision`. Deletions do not count.
    pub fn none_newer(keys: KeyRange, revision: Revision) -> Self {
        Self {
            keys,
            relation: Relation::Less,
            target: Target::ModRevision(revision + 1),
        }
    }

    fn key(key: impl Into<Bytes>, relation: Relation, target: Target) -> Self {
        Self {
            keys: KeyRange::key(key),
            relation,
            target,
        }
    }
}

// === impl Operation ===

impl Operation {
    /// Writes a key that hangs on no lease.
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self::put_leased(key, value, 0)
    }

    /// Writes a key under a lease.
    pub fn put_leased(key: impl Into<Bytes>, value: impl Into<Bytes>, lease: LeaseId) -> Self {
        Self::Put {
            key: key.into(),
            value: value.into(),
            lease,
        }
    }

    /// Overwrites an existing key and leaves it on its lease.
    pub fn overwrite(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self::Overwrite {
            key: key.into(),
            value: value.into(),
        }
    }

    /// Deletes one key.
    pub fn delete(key: impl Into<Bytes>) -> Self {
        Self::Delete(KeyRange::key(key))
    }

    /// Reads one key.
    pub fn get(key: impl Into<Bytes>) -> Self {
        Self::Range(RangeRequest::new(KeyRange::key(key)))
    }
}

// === impl TxnResponse ===

impl TxnResponse {
    /// The answer to the `index`th operation, if that was a read.
    pub fn range(&self, index: usize) -> Option<&RangeResponse> {
        match self.responses.get(index) {
            Some(OperationResponse::Range(range)) => Some(range),
            _ => None,
        }
    }

    /// The one key that the `index`th operation read, if it is there.
    pub fn found(&self, index: usize) -> Option<&super::KeyValue> {
        self.range(index).and_then(|range| range.kvs.first())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_operations_count_against_what_the_outer_transaction_left() {
        let nest = |inner: usize, outer: usize| {
            let nested = Txn {
                success: vec![Operation::delete("k"); inner],
                ..Txn::new()
            };
            Txn {
                success: vec![Operation::Txn(nested); outer],
                ..Txn::new()
            }
        };
        nest(3, 42).check_size().unwrap();
        nest(86, 42).check_size().unwrap();
        assert!(nest(87, 42).check_size().is_err());
        assert!(nest(1, 129).check_size().is_err());
    }

    #[test]
    fn a_prefix_ends_before_its_successor() {
        let keys = KeyRange::prefix("a/");
        assert!(keys.contains(b"a/") && keys.contains(b"a/\xff"));
        assert!(!keys.contains(b"a0") && !keys.contains(b"a"));
    }
}
