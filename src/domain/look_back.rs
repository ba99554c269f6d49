//! Whether a full store carried out what it refused.
//!
//! etcd looks for room before it carries out a write and once more while it does, and says the same
//! of both. So the write that takes the last room is carried out and refused. Nothing of the kind
//! happens later, and reads need no room: a look at the conditions and the `otherwise` branch tells
//! what came of it, as it does where an answer was lost.

use crate::store::{Operation, OperationResponse, Txn, TxnResponse};

/// The same transaction without its writes.
pub(super) fn look(txn: &Txn) -> Txn {
    let reads = |branch: &[Operation]| {
        let reads = branch.iter().filter_map(|step| match step {
            Operation::Range(request) => Some(Operation::Range(request.clone())),
            Operation::Txn(nested) => Some(Operation::Txn(look(nested))),
            Operation::Put { .. } | Operation::Overwrite { .. } | Operation::Delete(_) => None,
        });
        reads.collect()
    };
    Txn {
        compares: txn.compares.clone(),
        success: reads(&txn.success),
        failure: reads(&txn.failure),
    }
}

/// Whether there is anything in `txn` that a full store refuses.
pub(super) fn needs_room(txn: &Txn) -> bool {
    let mut steps = txn.success.iter().chain(&txn.failure);
    steps.any(|step| match step {
        Operation::Put { .. } | Operation::Overwrite { .. } => true,
        Operation::Delete(_) | Operation::Range(_) => false,
        Operation::Txn(nested) => needs_room(nested),
    })
}

/// Whether `txn` would write something now, as the [`look`] at it was answered: then it was not
/// carried out, because its conditions would not hold any more.
pub(super) fn would_write(txn: &Txn, looked: &TxnResponse) -> bool {
    let branch = match looked.succeeded {
        true => &txn.success,
        false => &txn.failure,
    };
    let nested = looked
        .responses
        .iter()
        .filter_map(|response| match response {
            OperationResponse::Txn(nested) => Some(nested),
            _ => None,
        });
    let inside = branch.iter().filter_map(|step| match step {
        Operation::Txn(nested) => Some(nested),
        _ => None,
    });
    let writes = |step: &Operation| !matches!(step, Operation::Range(_) | Operation::Txn(_));
    branch.iter().any(writes)
        || inside
            .zip(nested)
            .any(|(txn, looked)| would_write(txn, looked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Compare;

    fn create(key: &'static str) -> Txn {
        Txn::new()
            .when(Compare::absent(key))
            .then(Operation::put(key, "value"))
            .otherwise(Operation::get(key))
    }

    fn answer(succeeded: bool, responses: Vec<OperationResponse>) -> TxnResponse {
        TxnResponse {
            succeeded,
            revision: 1,
            responses,
        }
    }

    #[test]
    fn a_look_has_the_conditions_and_the_reads_and_writes_nothing() {
        let txn = Txn::new()
            .when(Compare::exists("lock"))
            .then(Operation::delete("old"))
            .then(Operation::Txn(create("new")));
        let look = look(&txn);
        assert_eq!((look.compares.len(), look.success.len()), (1, 1));
        let [Operation::Txn(nested)] = &look.success[..] else {
            panic!("{look:?}");
        };
        assert!(nested.success.is_empty());
        assert_eq!((nested.compares.len(), nested.failure.len()), (1, 1));
    }

    #[test]
    fn what_would_be_written_now_was_not_written_before() {
        assert!(would_write(&create("a"), &answer(true, Vec::new())));
        assert!(!would_write(&create("a"), &answer(false, Vec::new())));
        let batch = Txn::new()
            .then(Operation::get("x"))
            .then(Operation::Txn(create("a")))
            .then(Operation::Txn(create("b")));
        let read = || OperationResponse::Range(Default::default());
        let nested = |there: bool| OperationResponse::Txn(answer(!there, Vec::new()));
        let looked = |a, b| answer(true, vec![read(), nested(a), nested(b)]);
        // One of them could not be written from the start.
        assert!(would_write(&batch, &looked(true, false)));
        assert!(!would_write(&batch, &looked(true, true)));
    }
}
