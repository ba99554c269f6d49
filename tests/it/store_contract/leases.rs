//! Leases, their keys and their end.

use std::time::{Duration, Instant};

use stanchion::store::{Error, Event, Operation, Txn};

use crate::support::store::{Adapter, Fixture, lease_id, next_changes};

const LONG: Duration = Duration::from_secs(60);

/// Shorter than any store grants.
const SHORT: Duration = Duration::from_millis(1);

pub async fn granting_a_lease_again_finds_it(adapter: &impl Adapter) {
    let t = adapter.shared().await;
    let id = lease_id();
    assert_eq!(t.store.grant(id, LONG).await.unwrap(), LONG);
    let revision = t.put_leased("k", id).await;
    t.store.grant(id, LONG).await.unwrap();
    assert_eq!(t.get("k").await.unwrap().mod_revision, revision);
    t.store.revoke(id).await.unwrap();
}

pub async fn granted_times_are_whole_seconds_and_not_too_short(adapter: &impl Adapter) {
    let t = adapter.shared().await;
    let (_, granted) = t.lease(SHORT).await;
    assert!(granted >= Duration::from_secs(1));
    assert_eq!(granted.subsec_nanos(), 0);
    let (id, granted) = t.lease(Duration::from_millis(30_001)).await;
    assert_eq!(granted, Duration::from_secs(31));
    let renewal = t.store.keep_alive(id).await.unwrap();
    assert_eq!(renewal.ttl, granted);
}

pub async fn a_lease_that_is_gone_cannot_be_renewed_or_used(adapter: &impl Adapter) {
    let t = adapter.shared().await;
    let (revoked, _) = t.lease(LONG).await;
    t.store.revoke(revoked).await.unwrap();
    t.store.revoke(revoked).await.unwrap();
    let unknown = lease_id();
    t.store.revoke(unknown).await.unwrap();
    for id in [revoked, unknown] {
        let error = t.store.keep_alive(id).await.unwrap_err();
        assert_eq!(error, Error::LeaseNotFound);
        let put = Operation::put_leased(t.key("k"), "x", id);
        let error = t.txn(Txn::new().then(put)).await.unwrap_err();
        assert_eq!(error, Error::LeaseNotFound);
    }
    assert!(t.names().await.is_empty());
}

pub async fn revoking_deletes_all_keys_in_one_revision(adapter: &impl Adapter) {
    let t = adapter.shared().await;
    let (id, _) = t.lease(LONG).await;
    let (other, _) = t.lease(LONG).await;
    for name in ["c", "a", "b"] {
        t.put_leased(name, id).await;
    }
    let last = t.put_leased("stays", other).await;
    let mut watch = t.watch(last + 1).await;
    t.store.revoke(id).await.unwrap();
    assert_eq!(t.names().await, ["stays"]);
    let (revision, events) = next_changes(&mut watch).await;
    assert!(revision > last);
    assert_eq!(deleted(&t, &events), ["a", "b", "c"], "in key order");
}

pub async fn keys_that_left_a_lease_survive_it(adapter: &impl Adapter) {
    let t = adapter.shared().await;
    let (id, _) = t.lease(LONG).await;
    for name in ["back", "free", "leased", "reborn"] {
        t.put_leased(name, id).await;
    }
    t.put("free", "x").await;
    t.delete("reborn").await;
    t.put("reborn", "x").await;
    t.put("back", "x").await;
    t.put_leased("back", id).await;
    t.store.revoke(id).await.unwrap();
    assert_eq!(t.names().await, ["free", "reborn"]);
}

pub async fn a_revoked_lease_can_be_granted_again(adapter: &impl Adapter) {
    let t = adapter.shared().await;
    let (id, _) = t.lease(LONG).await;
    t.put_leased("first", id).await;
    t.store.revoke(id).await.unwrap();
    t.store.grant(id, LONG).await.unwrap();
    t.put_leased("second", id).await;
    t.store.keep_alive(id).await.unwrap();
    assert_eq!(t.names().await, ["second"]);
}

pub async fn expiry_deletes_all_keys_in_one_revision(adapter: &impl Adapter) {
    let t = adapter.shared().await;
    let before = Instant::now();
    let (id, granted) = t.lease(SHORT).await;
    for name in ["c", "a", "b"] {
        t.put_leased(name, id).await;
    }
    let last = t.put("stays", "x").await;
    let mut watch = t.watch(last + 1).await;
    let (revision, events) = next_changes(&mut watch).await;
    assert!(before.elapsed() >= granted, "never early");
    assert!(revision > last);
    assert_eq!(deleted(&t, &events), ["a", "b", "c"], "in key order");
    assert_eq!(t.names().await, ["stays"]);
    let error = t.store.keep_alive(id).await.unwrap_err();
    assert_eq!(error, Error::LeaseNotFound);
}

pub async fn a_renewed_lease_lives_on(adapter: &impl Adapter) {
    let t = adapter.shared().await;
    let (renewed, granted) = t.lease(SHORT).await;
    let (left, _) = t.lease(SHORT).await;
    t.put_leased("renewed", renewed).await;
    let last = t.put_leased("left", left).await;
    let mut watch = t.watch(last + 1).await;
    // What is renewed outlives what is not by far: that one's end is the clock of this test.
    let mut expired = std::pin::pin!(next_changes(&mut watch));
    let (_, events) = loop {
        let sent = Instant::now();
        let renewal = t.store.keep_alive(renewed).await.unwrap();
        assert_eq!(renewal.ttl, granted);
        assert!(renewal.sent >= sent);
        tokio::select! {
            changes = &mut expired => break changes,
            () = tokio::time::sleep(granted / 4) => {}
        }
    };
    assert_eq!(deleted(&t, &events), ["left"]);
    t.store.keep_alive(renewed).await.unwrap();
    assert_eq!(t.names().await, ["renewed"]);
}

fn deleted(t: &Fixture, events: &[Event]) -> Vec<String> {
    let name = |event: &Event| match event {
        Event::Delete { key, .. } => t.name(key),
        Event::Put(kv) => panic!("a put of {kv:?}"),
    };
    events.iter().map(name).collect()
}
