//! Transactions: branches, nesting, revisions, and many at once.

use std::{sync::Arc, time::Duration};

use stanchion::store::{Compare, KeyRange, Operation, OperationResponse, RangeRequest, Txn};

use crate::support::store::Adapter;

const LONG: Duration = Duration::from_secs(60);

pub async fn the_else_branch_runs_if_one_compare_fails(adapter: &impl Adapter) {
    let t = adapter.shared().await;
    t.put("a", "1").await;
    let txn = |absent: &str| {
        Txn::new()
            .when(Compare::exists(t.key("a")))
            .when(Compare::absent(t.key(absent)))
            .then(Operation::put(t.key("then"), "x"))
            .otherwise(Operation::get(t.key("a")))
            .otherwise(Operation::put(t.key("else"), "x"))
    };
    let response = t.txn(txn("a")).await.unwrap();
    assert!(!response.succeeded);
    assert_eq!(response.responses.len(), 2);
    assert_eq!(response.found(0).unwrap().value, "1");
    assert_eq!(t.names().await, ["a", "else"]);

    let response = t.txn(txn("b")).await.unwrap();
    assert!(response.succeeded);
    assert!(matches!(response.responses[..], [OperationResponse::Put]));
    assert_eq!(t.names().await, ["a", "else", "then"]);
}

pub async fn a_transaction_sees_its_own_writes(adapter: &impl Adapter) {
    let t = adapter.shared().await;
    t.put("a", "1").await;
    let before = t.put("b", "2").await;
    let txn = Txn::new()
        .then(Operation::get(t.key("c")))
        .then(Operation::put(t.key("c"), "3"))
        .then(Operation::get(t.key("c")))
        .then(Operation::Delete(KeyRange::span(t.key("a"), t.key("c"))))
        .then(Operation::Range(RangeRequest::new(t.all())));
    let response = t.txn(txn).await.unwrap();
    assert!(response.found(0).is_none());
    let written = response.found(2).unwrap();
    assert_eq!(written.value, "3");
    assert_eq!(written.mod_revision, response.revision);
    assert!(matches!(
        response.responses[3],
        OperationResponse::Delete(2)
    ));
    let left = response.range(4).unwrap();
    assert_eq!((left.count, &left.kvs[0].key), (1, &t.key("c")));
    assert_eq!(left.revision, response.revision);
    assert!(response.range(0).unwrap().revision >= before);
    assert!(response.range(0).unwrap().revision < response.revision);
}

pub async fn all_writes_of_a_transaction_share_a_revision(adapter: &impl Adapter) {
    let t = adapter.shared().await;
    t.put("old", "1").await;
    let nested = Txn::new().then(Operation::put(t.key("c"), "x"));
    let txn = Txn::new()
        .then(Operation::put(t.key("a"), "x"))
        .then(Operation::put(t.key("b"), "x"))
        .then(Operation::put(t.key("old"), "2"))
        .then(Operation::Txn(nested));
    let revision = t.txn(txn).await.unwrap().revision;
    for name in ["a", "b", "c"] {
        let kv = t.get(name).await.unwrap();
        assert_eq!((kv.create_revision, kv.mod_revision), (revision, revision));
    }
    let old = t.get("old").await.unwrap();
    assert!(old.create_revision < revision);
    assert_eq!((old.mod_revision, old.version), (revision, 2));
}

pub async fn a_key_that_comes_back_starts_a_new_life(adapter: &impl Adapter) {
    let t = adapter.shared().await;
    t.put("k", "1").await;
    t.put("k", "2").await;
    t.delete("k").await;
    let revision = t.put("k", "3").await;
    let kv = t.get("k").await.unwrap();
    assert_eq!((kv.create_revision, kv.version), (revision, 1));
}

pub async fn an_overwrite_keeps_the_lease_and_a_put_drops_it(adapter: &impl Adapter) {
    let t = adapter.shared().await;
    let (id, _) = t.lease(LONG).await;
    let (other, _) = t.lease(LONG).await;
    for name in ["kept", "dropped", "moved"] {
        t.put_leased(name, id).await;
    }
    let txn = Txn::new()
        .then(Operation::overwrite(t.key("kept"), "2"))
        .then(Operation::put(t.key("dropped"), "2"))
        .then(Operation::put_leased(t.key("moved"), "2", other));
    t.txn(txn).await.unwrap();
    let kept = t.get("kept").await.unwrap();
    assert_eq!(
        (kept.lease, kept.version, &kept.value[..]),
        (id, 2, &b"2"[..])
    );
    assert_eq!(t.get("dropped").await.unwrap().lease, 0);
    assert_eq!(t.get("moved").await.unwrap().lease, other);
    t.store.revoke(id).await.unwrap();
    assert_eq!(t.names().await, ["dropped", "moved"]);
}

pub async fn nested_transactions_answer_in_their_places(adapter: &impl Adapter) {
    let t = adapter.shared().await;
    t.put("a", "1").await;
    let innermost = Txn::new()
        .when(Compare::absent(t.key("a")))
        .then(Operation::put(t.key("wrong"), "x"))
        .otherwise(Operation::get(t.key("a")));
    let inner = Txn::new()
        .when(Compare::exists(t.key("a")))
        .then(Operation::Txn(innermost))
        .then(Operation::delete(t.key("a")));
    let txn = Txn::new()
        .then(Operation::get(t.key("a")))
        .then(Operation::Txn(inner))
        .then(Operation::get(t.key("a")));
    let response = t.txn(txn).await.unwrap();
    assert_eq!(response.found(0).unwrap().value, "1");
    let OperationResponse::Txn(inner) = &response.responses[1] else {
        panic!("{response:?}");
    };
    let OperationResponse::Txn(innermost) = &inner.responses[0] else {
        panic!("{response:?}");
    };
    assert!(inner.succeeded && !innermost.succeeded);
    assert_eq!(innermost.found(0).unwrap().value, "1");
    assert!(matches!(inner.responses[1], OperationResponse::Delete(1)));
    assert!(response.found(2).is_none());
}

pub async fn a_transaction_that_changes_nothing_keeps_the_revision(adapter: &impl Adapter) {
    let t = adapter.quiet().await;
    let before = t.put("a", "1").await;
    let nothing = [
        Txn::new(),
        Txn::new().then(Operation::get(t.key("a"))),
        Txn::new().then(Operation::delete(t.key("missing"))),
        Txn::new()
            .when(Compare::absent(t.key("a")))
            .then(Operation::put(t.key("a"), "2")),
    ];
    for txn in nothing {
        assert_eq!(t.txn(txn).await.unwrap().revision, before);
    }
    t.lease(LONG).await;
    assert_eq!(t.revision().await, before);
    assert_eq!(
        t.put("a", "1").await,
        before + 1,
        "the same value is a write"
    );
    assert_eq!(t.delete("a").await, before + 2);
    assert_eq!(t.get("a").await, None);
}

pub async fn concurrent_compare_and_set_loses_no_update(adapter: &impl Adapter) {
    const TASKS: u64 = 8;
    const ROUNDS: u64 = 10;
    let t = Arc::new(adapter.shared().await);
    t.put("n", "0").await;
    let tasks = (0..TASKS).map(|_| {
        let t = t.clone();
        tokio::spawn(async move {
            for _ in 0..ROUNDS {
                let mut seen = t.get("n").await.unwrap();
                loop {
                    let number: u64 = std::str::from_utf8(&seen.value).unwrap().parse().unwrap();
                    let txn = Txn::new()
                        .when(Compare::mod_revision(t.key("n"), seen.mod_revision))
                        .then(Operation::put(t.key("n"), (number + 1).to_string()))
                        .otherwise(Operation::get(t.key("n")));
                    let response = t.txn(txn).await.unwrap();
                    if response.succeeded {
                        break;
                    }
                    seen = response.found(0).unwrap().clone();
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let n = t.get("n").await.unwrap();
    assert_eq!(n.value, (TASKS * ROUNDS).to_string());
    assert_eq!(n.version as u64, TASKS * ROUNDS + 1);
}
