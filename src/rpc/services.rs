//! Which service answers a call.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context as TaskContext, Poll},
};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use tonic::{
    body::Body,
    service::{Routes, RoutesBuilder},
};
use tonic_health::pb::health_server::HealthServer;
use tower::Service;

use crate::proto::{
    FILE_DESCRIPTOR_SET,
    server::{
        audit_service_server::AuditServiceServer, barrier_service_server::BarrierServiceServer,
        config_service_server::ConfigServiceServer, election_service_server::ElectionServiceServer,
        lock_service_server::LockServiceServer, operator_service_server::OperatorServiceServer,
        registry_service_server::RegistryServiceServer, server_service_server::ServerServiceServer,
        session_service_server::SessionServiceServer,
    },
};

use super::{
    Context, audit::AuditHandler, barrier::BarrierHandler, config::ConfigHandler,
    election::ElectionHandler, health::HealthHandler, lock::LockHandler, operator::OperatorHandler,
    plain, registry::RegistryHandler, server::ServerHandler, session::SessionHandler,
};

/// All services of the API, health and reflection included.
///
/// Our own are found by name, and what is called most goes past the framework if it can. The rest
/// go through the framework's router, which costs each call several allocations.
#[derive(Clone)]
pub struct Services(Arc<Own>);

struct Own {
    configs: Arc<ConfigHandler>,
    instances: Arc<RegistryHandler>,
    audit: AuditServiceServer<AuditHandler>,
    barrier: BarrierServiceServer<BarrierHandler>,
    config: ConfigServiceServer<ConfigHandler>,
    election: ElectionServiceServer<ElectionHandler>,
    lock: LockServiceServer<LockHandler>,
    operator: OperatorServiceServer<OperatorHandler>,
    registry: RegistryServiceServer<RegistryHandler>,
    server: ServerServiceServer<ServerHandler>,
    session: SessionServiceServer<SessionHandler>,
    rest: Routes,
}

/// A service with the limits every service has.
macro_rules! limited {
    ($context:ident, $service:ident($handler:expr)) => {
        $service::from_arc($handler)
            .max_decoding_message_size($context.settings.max_request_bytes)
            .max_encoding_message_size($context.settings.max_response_bytes)
    };
}

// === impl Services ===

impl Services {
    /// The services of one replica.
    pub fn new(
        context: &Context,
        health: HealthHandler,
    ) -> Result<Self, tonic_reflection::server::Error> {
        let mut rest = Routes::builder();
        rest.add_service(limited!(context, HealthServer(Arc::new(health))));
        if context.settings.reflection {
            add_reflection(&mut rest)?;
        }
        let of = || context.clone();
        let audit = Arc::new(AuditHandler::new(of()));
        let barriers = Arc::new(BarrierHandler::new(of()));
        let configs = Arc::new(ConfigHandler::new(of()));
        let instances = Arc::new(RegistryHandler::new(of()));
        let elections = Arc::new(ElectionHandler::new(of()));
        let locks = Arc::new(LockHandler::new(of()));
        let operators = Arc::new(OperatorHandler::new(of()));
        let server = Arc::new(ServerHandler::new(of()));
        let sessions = Arc::new(SessionHandler::new(of()));
        Ok(Self(Arc::new(Own {
            audit: limited!(context, AuditServiceServer(audit)),
            barrier: limited!(context, BarrierServiceServer(barriers)),
            config: limited!(context, ConfigServiceServer(configs.clone())),
            election: limited!(context, ElectionServiceServer(elections)),
            lock: limited!(context, LockServiceServer(locks)),
            operator: limited!(context, OperatorServiceServer(operators)),
            registry: limited!(context, RegistryServiceServer(instances.clone())),
            server: limited!(context, ServerServiceServer(server)),
            session: limited!(context, SessionServiceServer(sessions)),
            configs,
            instances,
            rest: rest.routes().prepare(),
        })))
    }
}

impl Service<Request<Body>> for Services {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let own = &*self.0;
        match request.uri().path() {
            "/stanchion.v1.RegistryService/ListInstances" => {
                if let Some(message) = plain::take(&mut request) {
                    let handler = own.instances.clone();
                    return Box::pin(async move { Ok(plain::answer(handler.list(message).await)) });
                }
            }
            "/stanchion.v1.ConfigService/GetConfig" => {
                if let Some(message) = plain::take(&mut request) {
                    let handler = own.configs.clone();
                    return Box::pin(async move { Ok(plain::answer(handler.get(message).await)) });
                }
            }
            _ => {}
        }
        let service = request.uri().path().split('/').nth(1);
        match service.unwrap_or_default() {
            "stanchion.v1.AuditService" => own.audit.clone().call(request),
            "stanchion.v1.BarrierService" => own.barrier.clone().call(request),
            "stanchion.v1.ConfigService" => own.config.clone().call(request),
            "stanchion.v1.ElectionService" => own.election.clone().call(request),
            "stanchion.v1.LockService" => own.lock.clone().call(request),
            "stanchion.v1.OperatorService" => own.operator.clone().call(request),
            "stanchion.v1.RegistryService" => own.registry.clone().call(request),
            "stanchion.v1.ServerService" => own.server.clone().call(request),
            "stanchion.v1.SessionService" => own.session.clone().call(request),
            _ => Box::pin(own.rest.clone().call(request)),
        }
    }
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
