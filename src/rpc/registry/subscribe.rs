//! Watches of instances as subscribers of their service.

use std::sync::Arc;

use stanchion_client::proto::{InstanceView as WireView, WatchInstancesRequest};

use crate::{
    domain::{
        keyspace::ServiceKey,
        names::{Label, ServiceName},
        registry::{Instance, InstanceView, OperatorState, Watching},
        watch::{Action, Message, Start},
    },
    rpc::{Peer, convert::Violations, watch::Subscription},
};

use super::RegistryHandler;

/// What a request says of who watches.
pub(super) fn watching(v: &mut Violations, request: &WatchInstancesRequest) -> Option<Watching> {
    let subscriber_id = v.id("subscriber_id", &request.subscriber_id);
    if request.acknowledges && request.subscriber_id.is_empty() {
        v.add("subscriber_id", "must not be empty with `acknowledges`");
    }
    let client_id = v.take("client_id", Label::parse_name(&request.client_id));
    // What is wrong with these is said where the selection is read.
    let namespace = crate::domain::names::Namespace::parse_or_default(&request.namespace);
    let service = ServiceName::parse(&request.service);
    Some(Watching {
        service: ServiceKey {
            namespace: namespace.ok()?,
            service: service.ok()?,
        },
        view: match request.view() {
            WireView::All => InstanceView::All,
            WireView::Serving | WireView::Removed | WireView::Unspecified => InstanceView::Serving,
        },
        filter: request.filter.clone(),
        subscriber_id,
        acknowledges: request.acknowledges,
        client_id: client_id?,
        address: String::new(),
        resumed_after: 0,
    })
}

/// Says whether a message takes an instance away from whoever calls those it was shown, or shows
/// all anew.
pub(super) fn takes_away(message: &Message<Arc<Instance>>) -> bool {
    match message {
        Message::SnapshotEnd { .. } => true,
        Message::Delta { events, .. } => events.iter().any(|event| {
            matches!(event.action, Action::Deleted(_))
                || event.item.operator == OperatorState::Draining
        }),
        Message::Snapshot { .. } | Message::Bookmark { .. } | Message::Reset { .. } => false,
    }
}

// === impl RegistryHandler ===

impl RegistryHandler {
    /// Enters a watch among the subscribers, in an epoch.
    pub(super) fn subscribe(
        &self,
        watching: Watching,
        (start, epoch): (&Start, u64),
        peer: Option<Peer>,
    ) -> Subscription {
        let resumed_after = match start {
            // Of another epoch it says nothing.
            Start::Resume(token) if token.epoch == epoch => token.revision,
            Start::After(revision) => *revision,
            Start::Snapshot | Start::Resume(_) | Start::Elsewhere => 0,
        };
        let acknowledges = watching.acknowledges;
        let subscriber = self.context.drains.subscribers().enter(Watching {
            address: peer
                .as_ref()
                .map_or_else(String::new, |peer| peer.address.to_string()),
            resumed_after,
            ..watching
        });
        Subscription::new(subscriber, acknowledges, peer)
    }
}
