//! Transactions: compares, branches, nesting, and what is refused.

use std::{sync::Arc, time::Duration};

use stanchion::store::{
    Compare, Error, KeyRange, MAX_TXN_BYTES, MAX_TXN_OPERATIONS, Operation, OperationResponse,
    RangeRequest, Relation, Target, Txn,
};

use crate::support::store::{Adapter, Fixture, lease_id};

const RELATIONS: [Relation; 4] = [
    Relation::Equal,
    Relation::NotEqual,
    Relation::Greater,
    Relation::Less,
];

/// What holds, by relation, when the key's side is less than, the same as, and greater than the
/// given one.
const LESS: [bool; 4] = [false, true, false, true];
const SAME: [bool; 4] = [true, false, false, false];
const GREATER: [bool; 4] = [false, true, true, false];

const LONG: Duration = Duration::from_secs(60);

/// Makes many compares at one revision.
async fn truths(t: &Fixture, compares: impl IntoIterator<Item = Compare>) -> Vec<bool> {
    let nested = |compare| Operation::Txn(Txn::new().when(compare));
    let txn = Txn {
        success: compares.into_iter().map(nested).collect(),
        ..Txn::new()
    };
    let answer = |response| match response {
        OperationResponse::Txn(nested) => nested.succeeded,
        other => panic!("{other:?}"),
    };
    let response = t.txn(txn).await.unwrap();
    response.responses.into_iter().map(answer).collect()
}

/// One compare by each relation.
fn each_relation(keys: &KeyRange, target: &Target) -> impl Iterator<Item = Compare> + use<> {
    let (keys, target) = (keys.clone(), target.clone());
    RELATIONS.into_iter().map(move |relation| Compare {
        keys: keys.clone(),
        relation,
        target: target.clone(),
    })
}

pub async fn every_target_compares_by_every_relation(adapter: &impl Adapter) {
    let t = adapter.shared().await;
    // Between two others, so that there is an id on either side.
    let id = rand::random_range(2..i64::MAX);
    t.store.grant(id, LONG).await.unwrap();
    let created = t.put("k", "a").await;
    t.put("other", "a").await;
    let put = Operation::put_leased(t.key("k"), "m", id);
    let modified = t.txn(Txn::new().then(put)).await.unwrap().revision;

    let number = |make: fn(i64) -> Target, number: i64| {
        [
            (make(number + 1), LESS),
            (make(number), SAME),
            (make(number - 1), GREATER),
        ]
    };
    let mut cases = Vec::new();
    cases.extend(number(Target::CreateRevision, created));
    cases.extend(number(Target::ModRevision, modified));
    cases.extend(number(Target::Version, 2));
    cases.extend(number(Target::Lease, id));
    let value = |value: &'static str| Target::Value(value.into());
    cases.extend([
        (value("n"), LESS),
        (value("m"), SAME),
        (value("lzz"), GREATER),
        (value("ma"), LESS),
        (value(""), GREATER),
    ]);
    let keys = KeyRange::key(t.key("k"));
    let compares = cases
        .iter()
        .flat_map(|(target, _)| each_relation(&keys, target));
    let truths = truths(&t, compares).await;
    for ((target, expected), found) in cases.iter().zip(truths.chunks(4)) {
        assert_eq!(found, expected, "{target:?} by {RELATIONS:?}");
    }
}

pub async fn what_is_absent_compares_as_zeros_and_has_no_value(adapter: &impl Adapter) {
    let t = adapter.shared().await;
    t.put("gone", "v").await;
    t.delete("gone").await;
    let makes: [fn(i64) -> Target; 4] = [
        Target::CreateRevision,
        Target::ModRevision,
        Target::Version,
        Target::Lease,
    ];
    for keys in [
        KeyRange::key(t.key("never")),
        KeyRange::key(t.key("gone")),
        KeyRange::prefix(t.key("empty/")),
    ] {
        for make in makes {
            let compares = [1, 0, -1]
                .into_iter()
                .flat_map(|number| each_relation(&keys, &make(number)));
            let found = truths(&t, compares).await;
            assert_eq!(found, [LESS, SAME, GREATER].concat(), "{:?}", make(0));
        }
        for value in ["", "v"] {
            let target = Target::Value(value.into());
            let found = truths(&t, each_relation(&keys, &target)).await;
            assert_eq!(found, [false; 4], "{target:?}");
        }
    }
    let key = || t.key("never");
    let found = truths(&t, [Compare::absent(key()), Compare::exists(key())]).await;
    assert_eq!(found, [true, false]);
}

pub async fn a_range_compare_holds_if_it_does_for_every_key(adapter: &impl Adapter) {
    let t = adapter.shared().await;
    let first = t.put("q/1", "x").await;
    let second = t.put("q/2", "x").await;
    t.put("r", "other").await;
    let all = || KeyRange::prefix(t.key("q/"));
    let compare = |relation, target| Compare {
        keys: all(),
        relation,
        target,
    };
    let cases = [
        (compare(Relation::Equal, Target::Value("x".into())), true),
        (
            compare(Relation::Equal, Target::CreateRevision(first)),
            false,
        ),
        (
            compare(Relation::NotEqual, Target::CreateRevision(first)),
            false,
        ),
        (
            compare(Relation::Less, Target::CreateRevision(second)),
            false,
        ),
        (
            compare(Relation::Less, Target::CreateRevision(second + 1)),
            true,
        ),
        (compare(Relation::Equal, Target::Version(1)), true),
        (Compare::none_older(all(), first), true),
        (Compare::none_older(all(), second), false),
        (Compare::empty(all()), false),
        (Compare::empty(KeyRange::prefix(t.key("q/3"))), true),
        (
            Compare::empty(KeyRange::span(t.key("q/3"), t.key("r"))),
            true,
        ),
        (
            Compare::empty(KeyRange::span(t.key("q/2"), t.key("r"))),
            false,
        ),
    ];
    let (compares, expected): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
    assert_eq!(truths(&t, compares).await, expected);
}

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

pub async fn all_compares_are_made_before_any_write(adapter: &impl Adapter) {
    let t = adapter.shared().await;
    let join = |name: &str| {
        let queue = KeyRange::prefix(t.key("queue/"));
        let put = Operation::put(t.key(name), "x");
        Operation::Txn(Txn::new().when(Compare::empty(queue)).then(put))
    };
    let txn = Txn::new().then(join("queue/1")).then(join("queue/2"));
    let response = t.txn(txn).await.unwrap();
    assert!(response.succeeded);
    assert_eq!(t.names().await, ["queue/1", "queue/2"]);

    // Nor is a compare inside moved by a write outside.
    let nested = Txn::new()
        .when(Compare::absent(t.key("new")))
        .then(Operation::put(t.key("seen"), "absent"));
    let txn = Txn::new()
        .then(Operation::put(t.key("new"), "x"))
        .then(Operation::Txn(nested));
    t.txn(txn).await.unwrap();
    assert_eq!(t.get("seen").await.unwrap().value, "absent");
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
