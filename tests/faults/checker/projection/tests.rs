//! What changes of records come to, in each selection.

use stanchion::proto::store;

use super::*;

fn put(record: &impl prost::Message, mod_revision: i64) -> Option<Put> {
    Some(Put {
        value: record.encode_to_vec().into(),
        create_revision: mod_revision,
        mod_revision,
        version: 1,
        lease: 0,
    })
}

fn instance(session: &str) -> store::Instance {
    store::Instance {
        session_id: session.into(),
        ..store::Instance::default()
    }
}

/// What the changes of one revision do, as path, before and after, by health or version.
fn steps(projection: &mut Projection, changes: &[(&str, Option<Put>)]) -> Vec<String> {
    let changes: Vec<_> = changes
        .iter()
        .map(|(key, put)| {
            let key_bytes = key.as_bytes().to_vec().into();
            let put = put.clone();
            (
                *key,
                Change {
                    key: key_bytes,
                    put,
                },
            )
        })
        .collect();
    let borrowed: Vec<_> = changes.iter().map(|(key, change)| (*key, change)).collect();
    let word = |look: &Option<Look>| match look {
        None => "-".to_owned(),
        Some(look) => [
            "Suspect",
            "Unhealthy",
            "Healthy",
            "Unknown",
            "version: 1",
            "version: 2",
            "held: true",
            "held: false",
            "serving_count: 1, protected: true",
            "serving_count: 1, protected: false",
            "serving_count: 2, protected: false",
        ]
        .into_iter()
        .find(|word| look.contains(word))
        .unwrap_or("?")
        .to_owned(),
    };
    let told = projection.apply(&borrowed).unwrap();
    told.iter()
        .map(|step| {
            let causes: Vec<_> = step
                .causes
                .iter()
                .map(|cause| cause.as_str_name())
                .collect();
            let cause = if step.after.is_none() {
                causes.join("|")
            } else {
                String::new()
            };
            let line = format!(
                "{} {} {} {}",
                step.path,
                word(&step.before),
                word(&step.after),
                cause.replace("DELETE_CAUSE_", "")
            );
            line.trim_end().to_owned()
        })
        .collect()
}

#[test]
fn a_deleted_head_is_no_config() {
    let mut projection = Projection::new(&View::configs("a"));
    let head = |version, deleted| store::ConfigHead {
        version,
        deleted,
        ..store::ConfigHead::default()
    };
    let key = "cfg/default/a/b";
    assert_eq!(
        steps(
            &mut projection,
            &[(key, put(&head(1, false), 3)), ("cfg/default/b", None)]
        ),
        ["default/a/b - version: 1"]
    );
    assert_eq!(
        steps(&mut projection, &[(key, put(&head(2, true), 4))]),
        ["default/a/b version: 1 - DELETED"]
    );
    assert!(steps(&mut projection, &[(key, None)]).is_empty());
}

#[test]
fn instances_follow_their_session_at_the_revision_of_its_end() {
    let mut all = Projection::new(&View::instances("web"));
    let mut serving = Projection::new(&View::serving("web"));
    let (ses, reg) = ("ses/s1", "reg/default/web/i");
    let open = [
        (ses, put(&store::Session::default(), 2)),
        (reg, put(&instance("s1"), 2)),
    ];
    for projection in [&mut all, &mut serving] {
        // Another one, so that losing the first one does not protect the service.
        steps(projection, &[("reg/default/web/j", put(&instance(""), 1))]);
        assert_eq!(steps(projection, &open), ["default/web/i - Healthy"]);
        assert!(steps(projection, &[("reg/default/web2/i", put(&instance(""), 3))]).is_empty());
    }
    let end = [(ses, None)];
    assert_eq!(steps(&mut all, &end), ["default/web/i Healthy Suspect"]);
    assert_eq!(
        steps(&mut serving, &end),
        ["default/web/i Healthy - NO_LONGER_MATCHING"]
    );
    let gone = [(reg, None)];
    assert_eq!(
        steps(&mut all, &gone),
        ["default/web/i Suspect - EXPIRED|DEREGISTERED"]
    );
    assert!(steps(&mut serving, &gone).is_empty());
}

#[test]
fn checks_and_operators_decide_who_serves() {
    let mut serving = Projection::new(&View::serving("web"));
    let (reg, op, hlt) = ("reg/default/web/i", "op/default/web/i", "hlt/default/web/i");
    steps(
        &mut serving,
        &[("reg/default/web/j", put(&instance(""), 1))],
    );
    assert_eq!(
        steps(&mut serving, &[(reg, put(&instance(""), 2))]),
        ["default/web/i - Unknown"]
    );
    let registration = Some(store::Registration {
        create_revision: 2,
        ..store::Registration::default()
    });
    let unhealthy = store::Health {
        registration,
        findings: vec![store::Finding {
            source: store::FindingSource::Report.into(),
            state: store::HealthState::Unhealthy.into(),
            ..store::Finding::default()
        }],
        ..store::Health::default()
    };
    assert_eq!(
        steps(&mut serving, &[(hlt, put(&unhealthy, 3))]),
        ["default/web/i Unknown - NO_LONGER_MATCHING"]
    );
    assert_eq!(
        steps(&mut serving, &[(hlt, None)]),
        ["default/web/i - Unknown"]
    );
    let isolated = store::Operator {
        state: store::OperatorState::Isolated.into(),
        ..store::Operator::default()
    };
    assert_eq!(
        steps(&mut serving, &[(op, put(&isolated, 5))]),
        ["default/web/i Unknown - NO_LONGER_MATCHING"]
    );
}

#[test]
fn a_service_is_the_sum_of_its_instances() {
    let mut services = Projection::new(&View::services("w"));
    let (ses, a, b) = ("ses/s1", "reg/default/web/a", "reg/default/web/b");
    let open = [
        (ses, put(&store::Session::default(), 2)),
        (a, put(&instance("s1"), 2)),
        (b, put(&instance(""), 2)),
        ("reg/default/db/a", put(&instance(""), 2)),
    ];
    let (both, one, protected) = (
        "serving_count: 2, protected: false",
        "serving_count: 1, protected: false",
        "serving_count: 1, protected: true",
    );
    assert_eq!(
        steps(&mut services, &open),
        [format!("default/web - {both}")]
    );
    // What changes of an instance alone does not change the sum.
    assert!(steps(&mut services, &[(b, put(&instance(""), 3))]).is_empty());
    assert_eq!(
        steps(&mut services, &[(ses, None)]),
        [format!("default/web {both} {one}")]
    );
    assert_eq!(
        steps(&mut services, &[(b, None)]),
        [format!("default/web {one} {protected}")]
    );
    assert_eq!(
        steps(&mut services, &[(a, None)]),
        [format!("default/web {protected} - EMPTY")]
    );
}

fn claim(session: &str, era: i64) -> store::LockWaiter {
    store::LockWaiter {
        session_id: session.into(),
        era,
        ..store::LockWaiter::default()
    }
}

#[test]
fn the_first_claim_holds_a_lock_and_the_next_once_it_is_gone() {
    let mut claims = Projection::new(&View::lock("l"));
    let (first, second) = ("lock/default/l/s1.z", "lock/default/l/s2.a");
    assert_eq!(
        steps(&mut claims, &[(first, put(&claim("s1", 1), 3))]),
        ["default/l/0000010000000003 - held: true"]
    );
    assert_eq!(
        steps(&mut claims, &[(second, put(&claim("s2", 1), 5))]),
        ["default/l/0000010000000005 - held: false"]
    );
    assert!(
        steps(
            &mut claims,
            &[("lock/default/ll/s.a", put(&claim("s", 1), 6))]
        )
        .is_empty()
    );
    assert_eq!(
        steps(&mut claims, &[(first, None)]),
        [
            "default/l/0000010000000003 held: true - RELEASED",
            "default/l/0000010000000005 held: false held: true"
        ]
    );
}

#[test]
fn a_claim_goes_with_its_session_before_it_or_after_it() {
    let mut claims = Projection::new(&View::lock("l"));
    let (key, ses) = ("lock/default/l/s1.a", "ses/s1");
    for (changes, cause) in [
        ([(ses, None), (key, None)], "SESSION_CLOSED"),
        ([(key, None), (ses, None)], "EXPIRED"),
    ] {
        steps(&mut claims, &[(key, put(&claim("s1", 1), 3))]);
        let gone = format!("default/l/0000010000000003 held: true - {cause}");
        assert_eq!(steps(&mut claims, &changes), [gone]);
    }
}

#[test]
fn after_a_loss_locks_are_closed_and_older_claims_void() {
    let mut claims = Projection::new(&View::lock("l"));
    let (old, new) = ("lock/default/l/s1.a", "lock/default/l/s2.a");
    steps(&mut claims, &[(old, put(&claim("s1", 1), 3))]);
    let epoch = store::Epoch {
        claims_from_era: 2,
        ..store::Epoch::default()
    };
    let closed = put(&store::LocksClosed::default(), 4);
    assert_eq!(
        steps(
            &mut claims,
            &[("epoch", put(&epoch, 4)), ("closed", closed)]
        ),
        ["default/l/0000010000000003 held: true - RELEASED"]
    );
    assert_eq!(
        steps(&mut claims, &[(new, put(&claim("s2", 2), 5))]),
        ["default/l/0000020000000005 - held: false"]
    );
    assert!(steps(&mut claims, &[(old, None)]).is_empty());
    assert_eq!(
        steps(&mut claims, &[("closed", None)]),
        ["default/l/0000020000000005 held: false held: true"]
    );
}
