//! The place of a watch among the subscribers of its service, given up when the stream ends.

use crate::{
    domain::{
        keyspace::ServiceKey,
        registry::{Ended, Subscriber},
    },
    rpc::Peer,
    store::Revision,
};

/// The subscriber behind a watch, and the connection it is on.
pub struct Subscription {
    subscriber: Option<Subscriber>,
    acknowledges: bool,
    peer: Option<Peer>,
}

// === impl Subscription ===

impl Subscription {
    /// A subscriber that `peer` is.
    pub(in crate::rpc) fn new(
        subscriber: Subscriber,
        acknowledges: bool,
        peer: Option<Peer>,
    ) -> Self {
        Self {
            subscriber: Some(subscriber),
            acknowledges,
            peer,
        }
    }

    /// Whether it acknowledges.
    pub fn acknowledges(&self) -> bool {
        self.acknowledges
    }

    /// Notes that everything up to `told` was handed to the transport.
    pub fn tells(&self, told: Revision, requested: Option<Revision>) {
        if let Some(subscriber) = &self.subscriber {
            subscriber.tells(told, requested);
        }
    }

    /// Notes that the transport took all that there was up to `seen`.
    pub fn took(&self, seen: Revision) {
        if let Some(subscriber) = &self.subscriber {
            subscriber.took(seen);
        }
    }

    /// The watch is about another service from now on.
    pub fn goes_to(&mut self, service: ServiceKey) {
        let subscriber = self.subscriber.take();
        self.subscriber = subscriber.map(|subscriber| subscriber.goes_to(service));
    }

    /// We ended the stream, and the client goes on elsewhere.
    pub fn moves_on(mut self) {
        self.end(Ended::Moving);
    }

    /// We gave the client up.
    pub fn breaks(mut self) {
        self.end(Ended::Broken);
    }

    fn end(&mut self, how: Ended) {
        if let Some(subscriber) = self.subscriber.take() {
            subscriber.ends(how);
        }
    }
}

impl Drop for Subscription {
    /// The client ended it, or its connection was lost.
    fn drop(&mut self) {
        if self.peer.as_ref().is_some_and(Peer::is_lost) {
            self.end(Ended::Broken);
        }
    }
}
