//! The public API: thin handlers, each decode → one call → encode.
//!
//! `convert` gives birth to every INVALID_ARGUMENT, `status` is the one table from outcomes to
//! gRPC, `watch` the one implementation of watch streams, `plain` and `framed` the short way past the
//! framework, `layers` what happens to every call, and `listener`, `workers` and `connection` what
//! happens to every connection.

pub(crate) mod codec;
pub mod config;
pub mod convert;
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
mod services;
mod settings;

use std::sync::Arc;

use crate::domain::{Core, lock::Locks, session::Sessions};

use self::header::Header;
pub use self::{services::Services, settings::Settings};

/// The services of the API, by full name.
pub const SERVICES: [&str; 6] = [
    "stanchion.v1.ConfigService",
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
        Self {
            locks: Locks::new(core.clone(), sessions.clone()),
            sessions,
            header: Header::new(core.clone()),
            core,
            settings,
        }
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
