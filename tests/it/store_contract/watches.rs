//! Watches: from where, what, in which order, and how far.

use std::collections::BTreeMap;

use bytes::Bytes;
use stanchion::store::{Error, Event, KeyRange, Operation, RangeRequest, Revision, Txn};
use tokio::time::timeout;

use crate::support::store::{Adapter, Fixture, PATIENCE, changes_until, next_changes, next_item};

/// An event in short: `a=1` or `-a`.
fn short(t: &Fixture, event: &Event) -> String {
    match event {
        Event::Put(kv) => {
            let value = std::str::from_utf8(&kv.value).unwrap();
            format!("{}={value}", t.name(&kv.key))
        }
        Event::Delete { key, .. } => format!("-{}", t.name(key)),
    }
}

fn shorts(t: &Fixture, changes: &[(Revision, Vec<Event>)]) -> Vec<String> {
    let events = changes.iter().flat_map(|(_, events)| events);
    events.map(|event| short(t, event)).collect()
}

pub async fn a_watch_from_now_sees_what_follows(adapter: &impl Adapter) {
    let t = adapter.shared().await;
    t.put("a", "before").await;
    let mut watch = t.watch(0).await;
    let created = t.put("b", "1").await;
    let modified = t.put("b", "2").await;
    let deleted = t.delete("b").await;

    let (revision, events) = next_changes(&mut watch).await;
    assert_eq!((revision, events.len()), (created, 1));
    let (revision, events) = next_changes(&mut watch).await;
    assert_eq!(revision, modified);
    let [Event::Put(kv)] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!((&kv.key, &kv.value[..]), (&t.key("b"), &b"2"[..]));
    assert_eq!((kv.create_revision, kv.mod_revision), (created, modified));
    assert_eq!((kv.version, kv.lease), (2, 0));
    let (revision, events) = next_changes(&mut watch).await;
    assert_eq!(revision, deleted);
    let key = t.key("b");
    assert_eq!(
        events,
        [Event::Delete {
            key,
            revision: deleted
        }]
    );
}

pub async fn a_watch_from_the_past_replays_it_and_goes_on(adapter: &impl Adapter) {
    let t = adapter.shared().await;
    t.put("a", "0").await;
    let from = t.put("a", "1").await;
    t.put("b", "2").await;
    t.delete("a").await;
    let mut watch = t.watch(from).await;
    let last = t.put("a", "3").await;
    let changes = changes_until(&mut watch, last).await;
    assert_eq!(shorts(&t, &changes), ["a=1", "b=2", "-a", "a=3"]);
    assert_eq!(changes[0].0, from);
    assert!(changes.is_sorted_by(|one, next| one.0 < next.0));
}

pub async fn a_watch_sees_its_prefix_alone(adapter: &impl Adapter) {
    let t = adapter.shared().await;
    let mut watch = t.store.watch(t.key("p/"), 0).await.unwrap();
    t.put("p", "no").await;
    t.put("p/a", "yes").await;
    t.put("p0", "no").await;
    let txn = Txn::new()
        .then(Operation::put(t.key("q"), "no"))
        .then(Operation::put(t.key("p/b"), "yes"))
        .then(Operation::delete(t.key("p")));
    let last = t.txn(txn).await.unwrap().revision;
    let changes = changes_until(&mut watch, last).await;
    assert_eq!(shorts(&t, &changes), ["p/a=yes", "p/b=yes"]);
}

pub async fn all_events_of_a_revision_come_together_in_order(adapter: &impl Adapter) {
    let t = adapter.shared().await;
    let first = t.put("old/1", "x").await;
    t.put("old/2", "x").await;
    let mut live = t.watch(0).await;
    let nested = Txn::new().then(Operation::put(t.key("b"), "2"));
    let txn = Txn::new()
        .then(Operation::put(t.key("z"), "1"))
        .then(Operation::Delete(KeyRange::prefix(t.key("old/"))))
        .then(Operation::Txn(nested))
        .then(Operation::put(t.key("a"), "3"));
    let revision = t.txn(txn).await.unwrap().revision;
    let mut replayed = t.watch(first).await;
    next_changes(&mut replayed).await;
    next_changes(&mut replayed).await;
    for watch in [&mut live, &mut replayed] {
        let (seen, events) = next_changes(watch).await;
        assert_eq!(seen, revision);
        let events: Vec<_> = events.iter().map(|event| short(&t, event)).collect();
        assert_eq!(events, ["z=1", "-old/1", "-old/2", "b=2", "a=3"]);
    }
}

pub async fn large_revisions_come_whole(adapter: &impl Adapter) {
    const TXNS: usize = 6;
    const PUTS: usize = 100;
    let t = adapter.shared().await;
    let mut live = t.watch(0).await;
    let mut revisions = Vec::new();
    for _ in 0..TXNS {
        let put = |index| Operation::put(t.key(&format!("{index:03}")), vec![b'x'; 10_000]);
        let txn = Txn {
            success: (0..PUTS).map(put).collect(),
            ..Txn::new()
        };
        revisions.push(t.txn(txn).await.unwrap().revision);
    }
    let mut replayed = t.watch(revisions[0]).await;
    for watch in [&mut live, &mut replayed] {
        for expected in &revisions {
            let (revision, events) = next_changes(watch).await;
            assert_eq!((revision, events.len()), (*expected, PUTS));
            let keys = events.iter().map(|event| event.key());
            assert!(keys.is_sorted(), "in operation order");
        }
    }
}

pub async fn a_slow_watcher_misses_nothing(adapter: &impl Adapter) {
    const WRITES: usize = 1000;
    let t = adapter.shared().await;
    let mut watch = t.watch(0).await;
    let mut last = 0;
    for index in 0..WRITES {
        last = t.put(&format!("{}", index % 10), index.to_string()).await;
    }
    let changes = changes_until(&mut watch, last).await;
    let expected: Vec<_> = (0..WRITES).map(|i| format!("{}={i}", i % 10)).collect();
    assert_eq!(shorts(&t, &changes), expected);
}

pub async fn a_list_and_a_watch_from_there_add_up(adapter: &impl Adapter) {
    let t = adapter.shared().await;
    let writes = async {
        let mut last = 0;
        for index in 0..200 {
            let name = format!("{}", index * 7 % 20);
            last = match index % 5 {
                4 => t.delete(&name).await,
                _ => t.put(&name, index.to_string()).await,
            };
        }
        last
    };
    let reads = async {
        let mut views = Vec::new();
        for _ in 0..10 {
            let listed = t.store.range(RangeRequest::new(t.all())).await.unwrap();
            let watch = t.watch(listed.revision + 1).await;
            views.push((listed, watch));
        }
        views
    };
    let (last, views) = tokio::join!(writes, reads);
    let now = t.store.range(RangeRequest::new(t.all())).await.unwrap();
    let expected: BTreeMap<Bytes, Bytes> =
        now.kvs.into_iter().map(|kv| (kv.key, kv.value)).collect();
    for (listed, mut watch) in views {
        let mut view: BTreeMap<Bytes, Bytes> = listed
            .kvs
            .into_iter()
            .map(|kv| (kv.key, kv.value))
            .collect();
        for (revision, events) in changes_until(&mut watch, last).await {
            assert!(revision > listed.revision);
            for event in events {
                match event {
                    Event::Put(kv) => view.insert(kv.key, kv.value),
                    Event::Delete { key, .. } => view.remove(&key),
                };
            }
        }
        assert_eq!(view, expected);
    }
}

pub async fn a_watch_from_before_the_compaction_is_told_the_oldest_revision(
    adapter: &impl Adapter,
) {
    let t = adapter.quiet().await;
    let first = t.put("a", "1").await;
    let second = t.put("a", "2").await;
    let third = t.put("a", "3").await;
    t.store.compact(second).await.unwrap();

    let refused = match t.store.watch(t.prefix(), first).await {
        Ok(mut watch) => {
            let error = loop {
                if let Err(error) = next_item(&mut watch).await {
                    break error;
                }
            };
            let end = timeout(PATIENCE, watch.items.recv()).await.unwrap();
            assert_eq!(end, None, "nothing follows an error");
            error
        }
        Err(error) => error,
    };
    assert_eq!(refused, Error::Compacted { oldest: second });

    let mut watch = t.watch(second).await;
    let changes = changes_until(&mut watch, third).await;
    assert_eq!(shorts(&t, &changes), ["a=2", "a=3"]);
}

pub async fn progress_passes_writes_outside_the_prefix(adapter: &impl Adapter) {
    let t = adapter.shared().await;
    let mut watch = t.store.watch(t.key("inside/"), 0).await.unwrap();
    let inside = t.put("inside/a", "1").await;
    let outside = t.put("outside", "1").await;
    let changes = changes_until(&mut watch, outside).await;
    assert_eq!(shorts(&t, &changes), ["inside/a=1"]);
    assert_eq!(changes[0].0, inside);
    // And again when there is nothing new to report.
    assert_eq!(changes_until(&mut watch, outside).await, []);
}

pub async fn a_probe_knows_every_acknowledged_write(adapter: &impl Adapter) {
    let t = adapter.shared().await;
    let mut watch = t.watch(0).await;
    let probe = watch.probe.clone();
    for index in 0..20 {
        let name = if index % 2 == 0 { "a" } else { "b" };
        let written = t.put(name, "x").await;
        let current = probe.current_revision().await.unwrap();
        assert!(current >= written);
        let changes = changes_until(&mut watch, current).await;
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].0, written);
    }
}
