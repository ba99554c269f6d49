//! The public API: thin handlers, each decode → one call → encode.
//!
//! `convert` gives birth to every INVALID_ARGUMENT, `status` is the one table from outcomes to
//! gRPC, `watch` the one implementation of watch streams, `plain` and `framed` the short way past the
//! framework, `layers` what happens to every call, and `listener`, `workers` and `connection` what
//! happens to every connection.

pub mod audit;
pub mod barrier;
pub(crate) mod codec;
pub mod config;
pub mod convert;
pub mod election;
pub mod framed;
pub mod header;
pub mod health;
pub mod layers;
pub mod listener;
pub mod lock;
pub mod operator;
pub mod page;
pub mod plain;
pub mod registry;
pub mod server;
pub mod session;
pub mod status;
pub mod watch;
pub mod workers;

mod connection;
mod hold;
mod peers;
mod services;
mod settings;

use std::sync::Arc;

use stanchion_client::proto::WatchAck;

use crate::domain::{
    Core,
    barrier::{Barriers, Latches},
    lock::Locks,
    registry::Drains,
    session::Sessions,
};

use self::{connection::Peer, header::Header, peers::GrpcPeers};
pub use self::{services::Services, settings::Settings};

/// The services of the API, by full name.
pub const SERVICES: [&str; 9] = [
    "stanchion.v1.AuditService",
    "stanchion.v1.BarrierService",
    "stanchion.v1.ConfigService",
    "stanchion.v1.ElectionService",
    "stanchion.v1.LockService",
    "stanchion.v1.OperatorService",
    "stanchion.v1.RegistryService",
    "stanchion.v1.ServerService",
    "stanchion.v1.SessionService",
];

/// What every handler works with.
#[derive(Clone)]
pub struct Context {
    /// The domain's shared part.
    pub core: Arc<Core>,
    /// The sessions of all clients.
    pub sessions: Sessions,
    /// The locks of all clients.
    pub locks: Locks,
    /// The barriers of all clients.
    pub barriers: Barriers,
    /// The latches of all clients.
    pub latches: Latches,
    /// The drains of all instances, and who watches at this replica.
    pub drains: Drains,
    /// Writes headers.
    pub header: Header,
    /// Bounds of calls.
    pub settings: Arc<Settings>,
}

// === impl Context ===

impl Context {
    /// The context of the replica that `core` is.
    pub fn new(core: Arc<Core>, settings: Arc<Settings>) -> Self {
        let sessions = Sessions::new(core.clone());
        let peers = Arc::new(GrpcPeers::new(settings.peer_timeout));
        Self {
            drains: Drains::new(core.clone(), sessions.clone(), peers),
            locks: Locks::new(core.clone(), sessions.clone()),
            barriers: Barriers::new(core.clone(), sessions.clone()),
            latches: Latches::new(core.clone()),
            sessions,
            header: Header::new(core.clone()),
            core,
            settings,
        }
    }

    /// Takes acknowledgements; answers the names of the watches that are not here.
    fn acknowledge(&self, acks: Vec<WatchAck>) -> Vec<String> {
        let subscribers = self.drains.subscribers();
        acks.into_iter()
            .filter(|ack| !subscribers.acknowledge(&ack.subscriber_id, ack.revision))
            .map(|ack| ack.subscriber_id)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use crate::proto::FILE_DESCRIPTOR_SET;

    use super::*;

    #[test]
    fn the_list_of_services_is_complete() {
        for service in SERVICES {
            let any = format!("{service}/");
            let set = prost_types::FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
            let found = set.file.iter().any(|file| {
                file.service
                    .iter()
                    .any(|s| any == format!("{}.{}/", file.package(), s.name()))
            });
            assert!(found, "{service}");
        }
    }
}
