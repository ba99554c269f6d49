//! `OperatorService`: one file per concern, each with what its requests and answers look like.

mod services;

use stanchion_client::proto::{
    DeleteServiceRequest, DeleteServiceResponse, GetServiceRequest, GetServiceResponse,
    PutServiceRequest, PutServiceResponse,
};
use tonic::{Request, Response, Status, async_trait};

use crate::{
    domain::registry::Registry, proto::server::operator_service_server::OperatorService,
    rpc::Context,
};

/// The handler of `OperatorService`.
pub struct OperatorHandler {
    context: Context,
    registry: Registry,
}

// === impl OperatorHandler ===

impl OperatorHandler {
    /// A handler over one replica.
    pub fn new(context: Context) -> Self {
        Self {
            registry: Registry::new(context.core.clone(), context.sessions.clone()),
            context,
        }
    }
}

#[async_trait]
impl OperatorService for OperatorHandler {
    async fn put_service(
        &self,
        request: Request<PutServiceRequest>,
    ) -> Result<Response<PutServiceResponse>, Status> {
        services::put(self, request.into_inner()).await
    }

    async fn get_service(
        &self,
        request: Request<GetServiceRequest>,
    ) -> Result<Response<GetServiceResponse>, Status> {
        services::get(self, request.into_inner()).await
    }

    async fn delete_service(
        &self,
        request: Request<DeleteServiceRequest>,
    ) -> Result<Response<DeleteServiceResponse>, Status> {
        services::delete(self, request.into_inner()).await
    }
}
