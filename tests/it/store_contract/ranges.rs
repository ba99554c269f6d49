//! Reads, and the revisions they are made at.

use stanchion::store::{Error, KeyRange, RangeRequest};

use crate::support::store::{Adapter, Fixture};

pub async fn keys_come_in_order_with_their_numbers(adapter: &impl Adapter) {
    let t = adapter.shared().await;
    let created = t.put("b", "1").await;
    t.put("c/1", "x").await;
    t.put("a", "y").await;
    t.put("c/2", "z").await;
    let modified = t.put("b", "2").await;

    let response = t.store.range(RangeRequest::new(t.all())).await.unwrap();
    assert_eq!(names(&t, &response.kvs), ["a", "b", "c/1", "c/2"]);
    assert_eq!((response.count, response.more), (4, false));
    assert!(response.revision >= modified);

    let b = &response.kvs[1];
    assert_eq!(b.value, "2");
    assert_eq!((b.create_revision, b.mod_revision), (created, modified));
    assert_eq!((b.version, b.lease), (2, 0));

    let prefix = RangeRequest::new(KeyRange::prefix(t.key("c/")));
    let response = t.store.range(prefix).await.unwrap();
    assert_eq!(names(&t, &response.kvs), ["c/1", "c/2"]);

    let span = RangeRequest::new(KeyRange::span(t.key("b"), t.key("c/2")));
    let response = t.store.range(span).await.unwrap();
    assert_eq!(names(&t, &response.kvs), ["b", "c/1"], "the end is not in");

    for empty in [
        KeyRange::key(t.key("c/")),
        KeyRange::span(t.key("c"), t.key("b")),
        KeyRange::span(t.key("b"), t.key("b")),
    ] {
        let response = t.store.range(RangeRequest::new(empty)).await.unwrap();
        assert_eq!((response.kvs.len(), response.count), (0, 0));
    }

    let anywhere = RangeRequest::new(KeyRange::key(t.key("a"))).serializable();
    assert_eq!(t.store.range(anywhere).await.unwrap().kvs[0].value, "y");
}

pub async fn a_limit_cuts_the_answer_short_and_says_so(adapter: &impl Adapter) {
    let t = adapter.shared().await;
    for name in ["a", "b", "c", "d", "e"] {
        t.put(name, name).await;
    }
    let mut start = t.key("");
    let mut pages = Vec::new();
    loop {
        let KeyRange { end, .. } = t.all();
        let keys = KeyRange::span(start.clone(), end.unwrap());
        let page = t
            .store
            .range(RangeRequest::new(keys).limit(2))
            .await
            .unwrap();
        pages.push((names(&t, &page.kvs).concat(), page.count, page.more));
        let Some(last) = page.kvs.last().filter(|_| page.more) else {
            break;
        };
        start = [&last.key[..], &[0]].concat().into();
    }
    let expected = [("ab", 5, true), ("cd", 3, true), ("e", 1, false)];
    assert_eq!(
        pages,
        expected.map(|(keys, n, more)| (keys.to_owned(), n, more))
    );

    let exact = RangeRequest::new(t.all()).limit(5);
    let exact = t.store.range(exact).await.unwrap();
    assert_eq!((exact.kvs.len(), exact.more), (5, false));
}

pub async fn values_and_keys_can_be_left_out(adapter: &impl Adapter) {
    let t = adapter.shared().await;
    let revision = t.put("a", "value").await;
    t.put("b", "value").await;

    let keys = RangeRequest::new(t.all()).keys_only();
    let keys = t.store.range(keys).await.unwrap();
    assert_eq!(names(&t, &keys.kvs), ["a", "b"]);
    assert!(keys.kvs.iter().all(|kv| kv.value.is_empty()));
    assert_eq!(keys.kvs[0].mod_revision, revision);

    let count = RangeRequest::new(t.all()).count_only();
    let count = t.store.range(count).await.unwrap();
    assert_eq!((count.kvs.len(), count.count, count.more), (0, 2, false));
}

pub async fn a_range_at_a_revision_sees_the_past(adapter: &impl Adapter) {
    let t = adapter.shared().await;
    let steps = [
        t.put("a", "1").await,
        t.put("b", "2").await,
        t.put("a", "3").await,
        t.delete("b").await,
        t.put("b", "4").await,
        t.delete("a").await,
    ];
    let expected = ["a1", "a1b2", "a3b2", "a3", "a3b4", "b4"];
    for (revision, expected) in steps.into_iter().zip(expected) {
        let then = t.store.range(RangeRequest::new(t.all()).at(revision)).await;
        let then = then.unwrap();
        let seen: String = then
            .kvs
            .iter()
            .map(|kv| t.name(&kv.key) + std::str::from_utf8(&kv.value).unwrap())
            .collect();
        assert_eq!(seen, expected, "at {revision}");
        assert_eq!(then.count, expected.len() / 2);
        assert!(
            then.revision >= steps[5],
            "the store's own revision is told"
        );

        let key = RangeRequest::new(KeyRange::key(t.key("b"))).at(revision);
        let key = t.store.range(key).await.unwrap();
        assert_eq!(
            key.kvs.first(),
            then.kvs.iter().find(|kv| t.name(&kv.key) == "b")
        );
    }
    let before = RangeRequest::new(t.all()).at(steps[0] - 1);
    assert_eq!(t.store.range(before).await.unwrap().count, 0);
    let page = RangeRequest::new(t.all()).at(steps[1]).limit(1);
    let page = t.store.range(page).await.unwrap();
    assert_eq!((page.kvs.len(), page.count, page.more), (1, 2, true));
}

pub async fn a_range_ahead_of_the_store_is_refused(adapter: &impl Adapter) {
    let t = adapter.shared().await;
    let ahead = t.put("a", "1").await + 1_000_000;
    let request = RangeRequest::new(t.all()).at(ahead);
    let error = t.store.range(request).await.unwrap_err();
    assert_eq!(error, Error::FutureRevision);
}

pub async fn a_range_before_the_compaction_is_refused(adapter: &impl Adapter) {
    let t = adapter.quiet().await;
    let first = t.put("a", "1").await;
    let second = t.put("a", "2").await;
    let third = t.put("a", "3").await;
    t.store.compact(second).await.unwrap();

    let at = |revision| t.store.range(RangeRequest::new(t.all()).at(revision));
    match at(first).await.unwrap_err() {
        // etcd refuses a read without saying where the history starts.
        Error::Compacted { oldest } => assert!(oldest == 0 || oldest == second),
        other => panic!("{other:?}"),
    }
    assert_eq!(at(second).await.unwrap().kvs[0].value, "2");
    assert_eq!(at(third).await.unwrap().kvs[0].value, "3");

    t.store.compact(second).await.unwrap();
    t.store.compact(first).await.unwrap();
    assert_eq!(at(second).await.unwrap().kvs[0].value, "2");
    let ahead = t.store.compact(third + 1000).await.unwrap_err();
    assert_eq!(ahead, Error::FutureRevision);
}

pub async fn revisions_rise_with_every_write_and_the_timeline_never_falls(adapter: &impl Adapter) {
    let t = adapter.shared().await;
    let mut before = t.store.status().await.unwrap();
    assert!(!before.version.is_empty() && !before.promise.is_empty());
    assert_eq!(before.members.len(), 1);
    for index in 0..20 {
        let written = t.put(&format!("{}", index % 3), "value").await;
        assert!(written > before.revision);
        let now = t.store.status().await.unwrap();
        assert!(now.revision >= written);
        assert!(now.timeline >= before.timeline);
        before = now;
    }
}

fn names(t: &Fixture, kvs: &[stanchion::store::KeyValue]) -> Vec<String> {
    kvs.iter().map(|kv| t.name(&kv.key)).collect()
}
