//! Transactions that are refused, whole.

use stanchion::store::{
    Compare, Error, KeyRange, MAX_TXN_BYTES, MAX_TXN_OPERATIONS, Operation, RangeRequest, Txn,
};

use crate::support::store::{Adapter, lease_id};

pub async fn a_dead_lease_fails_the_whole_transaction(adapter: &impl Adapter) {
    let t = adapter.shared().await;
    let dead = lease_id();
    let txn = Txn::new()
        .then(Operation::put(t.key("a"), "x"))
        .then(Operation::put_leased(t.key("b"), "x", dead));
    assert_eq!(t.txn(txn).await.unwrap_err(), Error::LeaseNotFound);

    let deep = Txn::new().then(Operation::put_leased(t.key("b"), "x", dead));
    let txn = Txn::new()
        .then(Operation::put(t.key("a"), "x"))
        .then(Operation::Txn(deep));
    assert_eq!(t.txn(txn).await.unwrap_err(), Error::LeaseNotFound);
    assert!(t.names().await.is_empty());

    let untaken = Txn::new()
        .then(Operation::put(t.key("a"), "x"))
        .otherwise(Operation::put_leased(t.key("b"), "x", dead));
    assert!(t.txn(untaken).await.unwrap().succeeded);
}

pub async fn overwriting_a_missing_key_fails_the_whole_transaction(adapter: &impl Adapter) {
    let t = adapter.shared().await;
    let txn = Txn::new()
        .then(Operation::put(t.key("a"), "x"))
        .then(Operation::overwrite(t.key("missing"), "x"));
    let error = t.txn(txn).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    assert!(t.names().await.is_empty());

    let guarded = Txn::new()
        .when(Compare::exists(t.key("missing")))
        .then(Operation::overwrite(t.key("missing"), "x"))
        .otherwise(Operation::get(t.key("missing")));
    let response = t.txn(guarded).await.unwrap();
    assert!(!response.succeeded && response.found(0).is_none());
}

pub async fn a_branch_that_writes_a_key_twice_is_refused(adapter: &impl Adapter) {
    let t = adapter.shared().await;
    let put = |name: &str| Operation::put(t.key(name), "x");
    let delete = |name: &str| Operation::delete(t.key(name));
    let all = || Operation::Delete(t.all());
    let then = |operations: Vec<Operation>| Txn {
        success: operations,
        ..Txn::new()
    };
    let nest = |success: Vec<Operation>, failure: Vec<Operation>| {
        Operation::Txn(Txn {
            success,
            failure,
            ..Txn::new()
        })
    };
    let refused = [
        vec![put("a"), put("a")],
        vec![put("a"), Operation::overwrite(t.key("a"), "y")],
        vec![put("a"), delete("a")],
        vec![delete("a"), put("a")],
        vec![put("a"), all()],
        vec![put("a"), nest(vec![put("a")], vec![])],
        vec![put("a"), nest(vec![], vec![put("a")])],
        vec![nest(vec![put("a")], vec![]), nest(vec![put("a")], vec![])],
        vec![nest(vec![put("a")], vec![]), delete("a")],
        vec![nest(vec![delete("a")], vec![]), put("a")],
        vec![nest(vec![nest(vec![put("a")], vec![])], vec![]), put("a")],
    ];
    for operations in refused {
        let shown = format!("{operations:?}");
        let error = t.txn(then(operations.clone())).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error:?}: {shown}");
        let untaken = Txn {
            failure: operations,
            ..Txn::new()
        };
        let error = t.txn(untaken).await.unwrap_err();
        assert!(
            matches!(error, Error::Invalid(_)),
            "{error:?}: else {shown}"
        );
    }
    assert!(t.names().await.is_empty());

    let allowed = [
        vec![nest(vec![put("a")], vec![put("a")])],
        vec![delete("b"), delete("b"), Operation::get(t.key("b"))],
        vec![put("a"), Operation::get(t.key("a")), delete("b")],
    ];
    for operations in allowed {
        let shown = format!("{operations:?}");
        let outcome = t.txn(then(operations)).await;
        assert!(outcome.is_ok(), "{outcome:?}: {shown}");
    }
    let either = Txn::new().then(put("a")).otherwise(put("a"));
    t.txn(either).await.unwrap();
}

pub async fn transactions_above_the_limits_are_refused(adapter: &impl Adapter) {
    let t = adapter.shared().await;
    let puts = |count: usize, bytes: usize| Txn {
        success: (0..count)
            .map(|index| Operation::put(t.key(&format!("{index:03}")), vec![b'x'; bytes]))
            .collect(),
        ..Txn::new()
    };
    t.txn(puts(MAX_TXN_OPERATIONS, 1)).await.unwrap();
    let error = t.txn(puts(MAX_TXN_OPERATIONS + 1, 1)).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");

    t.txn(puts(1, MAX_TXN_BYTES - 100)).await.unwrap();
    let error = t.txn(puts(1, MAX_TXN_BYTES + 1)).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    assert_eq!(t.get("000").await.unwrap().value.len(), MAX_TXN_BYTES - 100);
}

pub async fn empty_keys_are_refused(adapter: &impl Adapter) {
    let t = adapter.shared().await;
    let txns = [
        Txn::new().then(Operation::put("", "x")),
        Txn::new().otherwise(Operation::put("", "x")),
        Txn::new().then(Operation::delete("")),
        Txn::new().then(Operation::get("")),
        Txn::new().when(Compare::absent("")),
    ];
    for txn in txns {
        let error = t.txn(txn).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    }
    let range = RangeRequest::new(KeyRange::key(""));
    let error = t.store.range(range).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
}
