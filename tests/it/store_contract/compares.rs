//! What a transaction compares before it does anything.

use std::time::Duration;

use stanchion::store::{Compare, KeyRange, Operation, OperationResponse, Relation, Target, Txn};

use crate::support::store::{Adapter, Fixture};

const LONG: Duration = Duration::from_secs(60);

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
