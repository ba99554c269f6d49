//! The public API: thin handlers, each decode → one call → encode.
//!
//! `convert` gives birth to every INVALID_ARGUMENT, `status` is the one table from outcomes to
//! gRPC, `watch` the one implementation of watch streams.

pub mod convert;
pub mod header;
pub mod page;
pub mod registry;
pub mod server;
pub mod status;
pub mod watch;

use std::sync::Arc;

use tonic::service::Routes;

use crate::{
    domain::Core,
    proto::{FILE_DESCRIPTOR_SET, server::server_service_server::ServerServiceServer},
};

use self::header::Header;

/// The largest request taken, in bytes: a config item or release set with room to spare.
pub const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// What every handler works with.
#[derive(Clone)]
pub struct Context {
    /// The domain's shared part.
    pub core: Arc<Core>,
    /// Writes headers.
    pub header: Header,
    /// Times and bounds of watch streams.
    pub watch: Arc<watch::Settings>,
}

// === impl Context ===

impl Context {
    /// The context of the replica that `core` is.
    pub fn new(core: Arc<Core>, watch: watch::Settings) -> Self {
        Self {
            header: Header::new(core.clone()),
            core,
            watch: Arc::new(watch),
        }
    }
}

/// All services of the API, reflection included.
pub fn routes(context: &Context) -> Result<Routes, tonic_reflection::server::Error> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let mut routes = Routes::builder();
    routes
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(
            ServerServiceServer::new(server::ServerHandler::new(context.clone()))
                .max_decoding_message_size(MAX_REQUEST_BYTES),
        );
    Ok(routes.routes())
}
