//! Transactions: refuse what etcd refuses, decide every branch, check, and only then write, so
//! that nothing is ever half done.

use std::{cmp::Ordering, collections::HashSet};

use bytes::Bytes;

use super::state::{Change, State};
use crate::store::{
    Compare, Error, KeyRange, KeyValue, Operation, OperationResponse, Relation, Target, Txn,
    TxnResponse,
};

/// A transaction of which every branch is decided.
struct Chosen<'a> {
    succeeded: bool,
    steps: Vec<Step<'a>>,
}

enum Step<'a> {
    Operation(&'a Operation),
    Txn(Chosen<'a>),
}

/// What the operations of a branch write, whichever way its nested transactions go.
#[derive(Default)]
struct Writes<'a> {
    puts: HashSet<&'a Bytes>,
    deletes: Vec<&'a KeyRange>,
}

/// Refuses a transaction for its shape, whatever the store holds.
pub(super) fn check(txn: &Txn) -> Result<(), Error> {
    txn.check_size()?;
    check_keys(txn)?;
    Writes::of(&txn.success)?;
    Writes::of(&txn.failure)?;
    Ok(())
}

/// Says whether no branch of `txn` could write.
pub(super) fn reads_only(txn: &Txn) -> bool {
    txn.success
        .iter()
        .chain(&txn.failure)
        .all(|operation| match operation {
            Operation::Range(_) => true,
            Operation::Txn(nested) => reads_only(nested),
            Operation::Put { .. } | Operation::Overwrite { .. } | Operation::Delete(_) => false,
        })
}

/// Carries out a transaction of a shape that was checked. On an error `state` is as before.
pub(super) fn apply(state: &mut State, txn: &Txn) -> Result<TxnResponse, Error> {
    let chosen = Chosen::of(txn, state);
    chosen.check(state)?;
    let mut change = Change::new(state);
    let mut response = chosen.carry_out(&mut change);
    let revision = change.finish();
    stamp(&mut response, revision);
    Ok(response)
}

// === impl Chosen ===

impl<'a> Chosen<'a> {
    /// Makes all compares, those of nested transactions too.
    fn of(txn: &'a Txn, state: &State) -> Self {
        let succeeded = txn.compares.iter().all(|compare| holds(compare, state));
        let branch = if succeeded {
            &txn.success
        } else {
            &txn.failure
        };
        let step = |operation: &'a Operation| match operation {
            Operation::Txn(nested) => Step::Txn(Self::of(nested, state)),
            operation => Step::Operation(operation),
        };
        Self {
            succeeded,
            steps: branch.iter().map(step).collect(),
        }
    }

    /// Refuses what the state does not allow. No key is written twice in a branch, so that the
    /// state before the transaction decides.
    fn check(&self, state: &State) -> Result<(), Error> {
        for step in &self.steps {
            match step {
                Step::Txn(nested) => nested.check(state)?,
                Step::Operation(Operation::Put { lease, .. }) => {
                    if *lease != 0 && state.lease(*lease).is_none() {
                        return Err(Error::LeaseNotFound);
                    }
                }
                Step::Operation(Operation::Overwrite { key, .. }) => {
                    if state.get(key).is_none() {
                        return Err(Error::Invalid("an overwritten key does not exist".into()));
                    }
                }
                Step::Operation(Operation::Range(request)) => {
                    state.check_revision(request.revision)?;
                }
                Step::Operation(Operation::Delete(_) | Operation::Txn(_)) => {}
            }
        }
        Ok(())
    }

    fn carry_out(&self, change: &mut Change<'_>) -> TxnResponse {
        let mut responses = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            responses.push(match step {
                Step::Txn(nested) => OperationResponse::Txn(nested.carry_out(change)),
                Step::Operation(operation) => match operation {
                    Operation::Put { key, value, lease } => {
                        change.put(key.clone(), value.clone(), *lease);
                        OperationResponse::Put
                    }
                    Operation::Overwrite { key, value } => {
                        let lease = change.state().get(key).map_or(0, |kv| kv.lease);
                        change.put(key.clone(), value.clone(), lease);
                        OperationResponse::Put
                    }
                    Operation::Delete(keys) => OperationResponse::Delete(change.delete(keys)),
                    Operation::Range(request) => {
                        let now = change.revision();
                        OperationResponse::Range(change.state().read(request, now))
                    }
                    // `Chosen::of` made a `Step::Txn` of it.
                    Operation::Txn(_) => continue,
                },
            });
        }
        TxnResponse {
            succeeded: self.succeeded,
            revision: 0,
            responses,
        }
    }
}

// === impl Writes ===

impl<'a> Writes<'a> {
    /// Collects the writes of a branch. It may not put a key twice, nor put what it deletes. The
    /// two branches of a nested transaction may put the same key, for only one of them runs.
    ///
    /// This is etcd's rule with its one gap: a key put in a nested transaction may be deleted in
    /// a later one beside it.
    fn of(branch: &'a [Operation]) -> Result<Self, Error> {
        let mut writes = Self::default();
        for operation in branch {
            if let Operation::Delete(keys) = operation {
                writes.deletes.push(keys);
            }
        }
        for operation in branch {
            if let Operation::Txn(nested) = operation {
                let then = Self::of(&nested.success)?;
                let otherwise = Self::of(&nested.failure)?;
                for key in &then.puts {
                    writes.put(key)?;
                }
                for key in &otherwise.puts {
                    if !then.puts.contains(key) {
                        writes.put(key)?;
                    }
                }
                writes.deletes.extend(then.deletes);
                writes.deletes.extend(otherwise.deletes);
            }
        }
        for operation in branch {
            if let Operation::Put { key, .. } | Operation::Overwrite { key, .. } = operation {
                writes.put(key)?;
            }
        }
        Ok(writes)
    }

    fn put(&mut self, key: &'a Bytes) -> Result<(), Error> {
        let deleted = self.deletes.iter().any(|keys| keys.contains(key));
        if deleted || !self.puts.insert(key) {
            return Err(Error::Invalid(
                "a branch of the transaction writes a key twice".into(),
            ));
        }
        Ok(())
    }
}

fn check_keys(txn: &Txn) -> Result<(), Error> {
    for compare in &txn.compares {
        check_key(&compare.keys.start)?;
    }
    for operation in txn.success.iter().chain(&txn.failure) {
        match operation {
            Operation::Put { key, .. } | Operation::Overwrite { key, .. } => check_key(key)?,
            Operation::Delete(keys) => check_key(&keys.start)?,
            Operation::Range(request) => check_key(&request.keys.start)?,
            Operation::Txn(nested) => check_keys(nested)?,
        }
    }
    Ok(())
}

/// Keys are not empty.
pub(super) fn check_key(key: &[u8]) -> Result<(), Error> {
    if key.is_empty() {
        return Err(Error::Invalid("a key is empty".into()));
    }
    Ok(())
}

fn holds(compare: &Compare, state: &State) -> bool {
    let mut any = false;
    let all = state.live(&compare.keys).all(|kv| {
        any = true;
        related(&compare.target, compare.relation, kv)
    });
    if any {
        return all;
    }
    // What is absent has no value, and only zeros otherwise.
    let absent = KeyValue {
        key: Bytes::new(),
        value: Bytes::new(),
        create_revision: 0,
        mod_revision: 0,
        version: 0,
        lease: 0,
    };
    !matches!(compare.target, Target::Value(_))
        && related(&compare.target, compare.relation, &absent)
}

fn related(target: &Target, relation: Relation, kv: &KeyValue) -> bool {
    let ordering = match target {
        Target::CreateRevision(revision) => kv.create_revision.cmp(revision),
        Target::ModRevision(revision) => kv.mod_revision.cmp(revision),
        Target::Version(version) => kv.version.cmp(version),
        Target::Value(value) => kv.value.cmp(value),
        Target::Lease(lease) => kv.lease.cmp(lease),
    };
    match relation {
        Relation::Equal => ordering == Ordering::Equal,
        Relation::NotEqual => ordering != Ordering::Equal,
        Relation::Greater => ordering == Ordering::Greater,
        Relation::Less => ordering == Ordering::Less,
    }
}

/// Writes the revision after the transaction into its answer, nested ones included.
fn stamp(response: &mut TxnResponse, revision: i64) {
    response.revision = revision;
    for nested in &mut response.responses {
        if let OperationResponse::Txn(nested) = nested {
            stamp(nested, revision);
        }
    }
}
