//! The witness on a real etcd, without any server.

use super::{History, Reach, Witness, state_prefix};
use crate::support::{etcd::Etcd, server::eventually};

const ROOT: &str = "witnessed";

/// Writes beside the watched prefix and below it, as soon as etcd has a leader; returns the
/// revision.
async fn put(etcd: &Etcd, member: usize, key: &str, value: &str) -> i64 {
    eventually("a write to succeed", || async {
        let mut client = etcd.client(member).await;
        client
            .put(format!("beside/{key}"), value, None)
            .await
            .ok()?;
        let key = state_prefix(ROOT) + key;
        let answer = client.put(key, value, None).await.ok()?;
        Some(answer.header()?.revision())
    })
    .await
}

fn value_at(history: &History, part: usize, key: &str, revision: i64) -> Option<String> {
    let state = history.parts[part].at(revision);
    let put = state.get((state_prefix(ROOT) + key).as_bytes())?;
    Some(String::from_utf8(put.value.to_vec()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_misses_nothing_while_its_members_come_and_go() {
    let mut etcd = Etcd::start_cluster(3).await;
    let witness = Witness::start(Reach::of(&etcd), ROOT);
    let mut written = Vec::new();
    for (round, dead) in [0, 1, 2, 0].into_iter().enumerate() {
        etcd.kill(dead);
        for number in 0..10 {
            let value = format!("{round} {number}");
            written.push((put(&etcd, (dead + 1) % 3, "a", &value).await, value));
        }
        etcd.restart(dead).await;
        etcd.compact().await;
    }
    let history = witness.finish().await.unwrap();
    // Writes that were refused may have happened all the same.
    assert!(history.parts[0].revisions.len() >= written.len());
    for (revision, value) in written {
        assert_eq!(value_at(&history, 0, "a", revision), Some(value));
        assert!(history.parts[0].end >= revision);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_of_a_compacted_store_begins_with_what_is_left() {
    let etcd = Etcd::start().await;
    for value in ["1", "2", "3"] {
        put(&etcd, 0, "a", value).await;
    }
    let compacted = etcd.compact().await;
    let last = put(&etcd, 0, "a", "4").await;
    let witness = Witness::start(Reach::of(&etcd), ROOT);
    let history = witness.finish().await.unwrap();
    assert_eq!(history.parts[0].start, compacted);
    assert_eq!(value_at(&history, 0, "a", last - 1).unwrap(), "3");
    assert_eq!(value_at(&history, 0, "a", last).unwrap(), "4");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_lost_its_data_begins_another_part() {
    let mut etcd = Etcd::start().await;
    let mut witness = Witness::start(Reach::of(&etcd), ROOT);
    let before = put(&etcd, 0, "a", "before").await;
    witness.catch_up().await;
    witness.part().unwrap();
    etcd.kill(0);
    etcd.wipe(0);
    etcd.restart(0).await;
    witness.restart(Reach::of(&etcd));
    let after = put(&etcd, 0, "a", "after").await;
    let history = witness.finish().await.unwrap();
    assert_eq!(before, after);
    assert_eq!(value_at(&history, 0, "a", before).unwrap(), "before");
    assert_eq!(value_at(&history, 1, "a", after).unwrap(), "after");
}
