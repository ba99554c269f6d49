//! Transactions: the port's words in etcd's.

use etcd_client::{
    Compare as EtcdCompare, CompareOp, DeleteOptions, PutOptions, Txn as EtcdTxn, TxnOp,
    proto::{PbResponseOp, PbTxnOpResponse, PbTxnResponse},
};

use super::{
    kv::{get_options, range_response},
    pool::{Call, Pool, Prefer, Repeat},
};
use crate::store::{
    Compare, Error, Operation, OperationResponse, Outcome, Relation, Revision, Target, Txn,
    TxnResponse,
};

/// Carries out a transaction. It is sent again only when it certainly was not carried out: what
/// to make of an unknown outcome is the caller's decision.
pub(super) async fn txn(pool: &Pool, txn: Txn) -> Result<TxnResponse, Error> {
    txn.check_size()?;
    let call = Call {
        name: "etcd.txn",
        prefer: Prefer::Leader,
        repeat: Repeat::NotDone,
    };
    let response = pool
        .call(call, |member| {
            let mut kv = member.kv.clone();
            let request = to_etcd(&txn);
            async move { kv.txn(request).await }
        })
        .await?;
    let revision = response.header().map_or(0, |header| header.revision());
    from_etcd(response.0, revision)
}

fn to_etcd(txn: &Txn) -> EtcdTxn {
    let compares: Vec<_> = txn.compares.iter().map(compare).collect();
    let success: Vec<_> = txn.success.iter().map(operation).collect();
    let failure: Vec<_> = txn.failure.iter().map(operation).collect();
    EtcdTxn::new()
        .when(compares)
        .and_then(success)
        .or_else(failure)
}

fn compare(compare: &Compare) -> EtcdCompare {
    let key = compare.keys.start.to_vec();
    let relation = match compare.relation {
        Relation::Equal => CompareOp::Equal,
        Relation::NotEqual => CompareOp::NotEqual,
        Relation::Greater => CompareOp::Greater,
        Relation::Less => CompareOp::Less,
    };
    let made = match &compare.target {
        Target::CreateRevision(revision) => EtcdCompare::create_revision(key, relation, *revision),
        Target::ModRevision(revision) => EtcdCompare::mod_revision(key, relation, *revision),
        Target::Version(version) => EtcdCompare::version(key, relation, *version),
        Target::Value(value) => EtcdCompare::value(key, relation, value.to_vec()),
        Target::Lease(lease) => EtcdCompare::lease(key, relation, *lease),
    };
    match &compare.keys.end {
        Some(end) => made.with_range(end.to_vec()),
        None => made,
    }
}

fn operation(operation: &Operation) -> TxnOp {
    match operation {
        Operation::Put { key, value, lease } => TxnOp::put(
            key.to_vec(),
            value.to_vec(),
            Some(PutOptions::new().with_lease(*lease)),
        ),
        Operation::Overwrite { key, value } => TxnOp::put(
            key.to_vec(),
            value.to_vec(),
            Some(PutOptions::new().with_ignore_lease()),
        ),
        Operation::Delete(keys) => {
            let options = keys
                .end
                .as_ref()
                .map(|end| DeleteOptions::new().with_range(end.to_vec()));
            TxnOp::delete(keys.start.to_vec(), options)
        }
        Operation::Range(request) => {
            let (key, options) = get_options(request);
            TxnOp::get(key, Some(options))
        }
        Operation::Txn(txn) => TxnOp::txn(to_etcd(txn)),
    }
}

/// `revision` is what the store had reached when all was done; a read inside tells its own.
fn from_etcd(response: PbTxnResponse, revision: Revision) -> Result<TxnResponse, Error> {
    let responses = response.responses.into_iter();
    Ok(TxnResponse {
        succeeded: response.succeeded,
        revision,
        responses: responses
            .map(|response| operation_response(response, revision))
            .collect::<Result<_, _>>()?,
    })
}

fn operation_response(
    response: PbResponseOp,
    revision: Revision,
) -> Result<OperationResponse, Error> {
    Ok(match response.response {
        Some(PbTxnOpResponse::ResponsePut(_)) => OperationResponse::Put,
        Some(PbTxnOpResponse::ResponseDeleteRange(deleted)) => {
            OperationResponse::Delete(usize::try_from(deleted.deleted).unwrap_or(0))
        }
        Some(PbTxnOpResponse::ResponseRange(range)) => {
            let seen = range.header.as_ref().map(|header| header.revision);
            let seen = seen.filter(|seen| *seen > 0).unwrap_or(revision);
            OperationResponse::Range(range_response(range, seen))
        }
        Some(PbTxnOpResponse::ResponseTxn(txn)) => {
            OperationResponse::Txn(from_etcd(txn, revision)?)
        }
        // It was carried out, but who asks cannot be told what came of it.
        None => {
            return Err(Error::Unavailable {
                message: "etcd answered an operation with nothing".to_owned(),
                outcome: Outcome::Unknown,
            });
        }
    })
}
