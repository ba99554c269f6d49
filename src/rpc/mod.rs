//! The public API: thin handlers, each decode → one call → encode.
//!
//! `convert` gives birth to every INVALID_ARGUMENT, `status` is the one table from outcomes to
//! gRPC, `watch` the one implementation of watch streams, `layers` what happens to every call, and
//! `listener`, `workers` and `connection` what happens to every connection.

pub mod config;
pub mod convert;
pub mod framed;
pub mod header;
pub mod health;
pub mod layers;
pub mod listener;
pub mod lock;
pub mod page;
pub mod registry;
pub mod server;
pub mod session;
pub mod status;
pub mod watch;
pub mod workers;

mod connection;
mod settings;

use std::sync::Arc;

use tonic::service::{Routes, RoutesBuilder};
use tonic_health::pb::health_server::HealthServer;

use crate::{
    domain::{Core, lock::Locks, session::Sessions},
    proto::{
        FILE_DESCRIPTOR_SET,
        server::{
            config_service_server::ConfigServiceServer, lock_service_server::LockServiceServer,
            registry_service_server::RegistryServiceServer,
            server_service_server::ServerServiceServer,
            session_service_server::SessionServiceServer,
        },
    },
};

pub use self::settings::Settings;
use self::{header::Header, health::HealthHandler};

/// The services of the API, by full name.
pub const SERVICES: [&str; 5] = [
    "stanchion.v1.ConfigService",
    "stanchion.v1.LockService",
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

/// Adds a service with the limits every service has.
macro_rules! add {
    ($routes:ident, $context:ident, $service:ident::new($handler:expr)) => {
        $routes.add_service(
            $service::new($handler)
                .max_decoding_message_size($context.settings.max_request_bytes)
                .max_encoding_message_size($context.settings.max_response_bytes),
        )
    };
}

/// All services of the API, health and reflection included.
pub fn routes(
    context: &Context,
    health: HealthHandler,
) -> Result<Routes, tonic_reflection::server::Error> {
    let mut routes = Routes::builder();
    add!(routes, context, HealthServer::new(health));
    if context.settings.reflection {
        add_reflection(&mut routes)?;
    }
    add!(
        routes,
        context,
        ServerServiceServer::new(server::ServerHandler::new(context.clone()))
    );
    add!(
        routes,
        context,
        SessionServiceServer::new(session::SessionHandler::new(context.clone()))
    );
    add!(
        routes,
        context,
        ConfigServiceServer::new(config::ConfigHandler::new(context.clone()))
    );
    add!(
        routes,
        context,
        RegistryServiceServer::new(registry::RegistryHandler::new(context.clone()))
    );
    add!(
        routes,
        context,
        LockServiceServer::new(lock::LockHandler::new(context.clone()))
    );
    Ok(routes.routes())
}

/// Both versions, because clients in some languages know only the older one.
fn add_reflection(routes: &mut RoutesBuilder) -> Result<(), tonic_reflection::server::Error> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // Lets grpcurl show the details of errors.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    routes
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use prost::Message;

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
