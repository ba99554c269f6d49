//! What drains see of subscribers.

use crate::{
    clock::ManualClock,
    domain::names::{Namespace, ServiceName},
};

use super::*;

const KEEP: Duration = Duration::from_secs(15);

fn service() -> ServiceKey {
    ServiceKey {
        namespace: Namespace::parse("default").unwrap(),
        service: ServiceName::parse("web").unwrap(),
    }
}

fn watching(id: &str, acknowledges: bool) -> Watching {
    Watching {
        service: service(),
        view: InstanceView::Serving,
        filter: String::new(),
        subscriber_id: id.into(),
        acknowledges,
        client_id: Label::parse("client").unwrap(),
        address: "127.0.0.1:1".into(),
        resumed_after: 0,
    }
}

fn subscribers() -> (ManualClock, Subscribers) {
    let clock = ManualClock::default();
    let subscribers = Subscribers::new(Arc::new(clock.clone()), KEEP);
    (clock, subscribers)
}

/// How many know of revision 7, of how many.
fn known(subscribers: &Subscribers) -> (u32, u32) {
    let ack = subscribers.ack(&service(), 1, 7);
    assert_eq!(ack.laggards.len() as u32, ack.subscribers - ack.done);
    (ack.done, ack.subscribers)
}

#[test]
fn who_does_not_acknowledge_knows_what_the_transport_took() {
    let (_, subscribers) = subscribers();
    let subscriber = subscribers.enter(watching("", false));
    subscriber.tells(7, Some(7));
    assert_eq!(known(&subscribers), (0, 1));
    subscriber.took(7);
    assert_eq!(known(&subscribers), (1, 1));
    drop(subscriber);
    assert_eq!(known(&subscribers), (0, 0));
}

#[test]
fn who_acknowledges_knows_what_it_acknowledged_and_what_did_not_concern_it() {
    let (_, subscribers) = subscribers();
    let subscriber = subscribers.enter(watching("a", true));
    subscriber.tells(7, Some(7));
    subscriber.took(7);
    assert_eq!(known(&subscribers), (0, 1));
    assert!(!subscribers.acknowledge("b", 7));
    assert!(subscribers.acknowledge("a", 6));
    assert_eq!(known(&subscribers), (0, 1));
    assert!(subscribers.acknowledge("a", 7));
    assert_eq!(known(&subscribers), (1, 1));

    let other = subscribers.enter(watching("b", true));
    other.tells(5, None);
    other.took(9);
    assert_eq!(known(&subscribers), (2, 2));
    assert!(subscribers.acknowledge("b", 100));
    let reached = subscribers.list(&service(), 1, 9)[0].reached;
    assert_eq!(reached.acknowledged, 5, "not what it was not told");
}

#[test]
fn a_broken_stream_counts_until_it_is_resumed_or_for_so_long() {
    let (clock, subscribers) = subscribers();
    subscribers.enter(watching("a", true)).ends(Ended::Broken);
    subscribers.enter(watching("", false)).ends(Ended::Broken);
    assert_eq!(known(&subscribers), (0, 2));
    let resumed = subscribers.enter(Watching {
        resumed_after: 8,
        ..watching("a", true)
    });
    assert_eq!(known(&subscribers), (1, 2));
    clock.advance(KEEP);
    assert_eq!(known(&subscribers), (1, 1));
    // The end of the former stream may be noticed late.
    let newer = subscribers.enter(watching("a", true));
    resumed.ends(Ended::Broken);
    assert_eq!(subscribers.len(), 1);
    drop(newer);
    assert!(subscribers.is_empty());
}

#[test]
fn a_stream_that_we_ended_is_waited_for_if_it_can_be_known_again() {
    let (_, subscribers) = subscribers();
    subscribers.enter(watching("", false)).ends(Ended::Moving);
    assert!(subscribers.is_empty());
    subscribers.enter(watching("a", true)).ends(Ended::Moving);
    let listed = subscribers.list(&service(), 0, 9);
    assert_eq!(listed[0].ended, Some(Ended::Moving));
    assert_eq!(known(&subscribers), (0, 1));
}
