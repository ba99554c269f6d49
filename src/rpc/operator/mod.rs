//! `OperatorService`: one file per concern, each with what its requests and answers look like.

mod brake;
mod instances;
mod namespaces;
mod services;
mod subscribers;

use stanchion_client::proto::{
    DeleteNamespaceRequest, DeleteNamespaceResponse, DeleteServiceRequest, DeleteServiceResponse,
    GetNamespaceRequest, GetNamespaceResponse, GetServiceRequest, GetServiceResponse,
    ListNamespacesRequest, ListNamespacesResponse, ListSubscribersRequest, ListSubscribersResponse,
    PutNamespaceRequest, PutNamespaceResponse, PutServiceRequest, PutServiceResponse,
    ReleaseBrakeRequest, ReleaseBrakeResponse, SetInstanceOverlayRequest,
    SetInstanceOverlayResponse, SetInstanceStateRequest, SetInstanceStateResponse,
};
use tonic::{Request, Response, Status, async_trait};

use crate::{
    domain::{namespace::Namespaces, registry::Registry},
    proto::server::operator_service_server::OperatorService,
    rpc::{Context, convert::caller},
};

pub(super) use self::subscribers::page_token;

/// The handler of `OperatorService`.
pub struct OperatorHandler {
    context: Context,
    registry: Registry,
    namespaces: Namespaces,
}

// === impl OperatorHandler ===

impl OperatorHandler {
    /// A handler over one replica.
    pub fn new(context: Context) -> Self {
        Self {
            registry: Registry::new(context.core.clone(), context.sessions.clone()),
            namespaces: Namespaces::new(context.core.clone()),
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
        let caller = caller(&request);
        services::put(self, request.into_inner(), caller).await
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
        let caller = caller(&request);
        services::delete(self, request.into_inner(), caller).await
    }

    async fn set_instance_state(
        &self,
        request: Request<SetInstanceStateRequest>,
    ) -> Result<Response<SetInstanceStateResponse>, Status> {
        let caller = caller(&request);
        instances::set_state(self, request.into_inner(), caller).await
    }

    async fn set_instance_overlay(
        &self,
        request: Request<SetInstanceOverlayRequest>,
    ) -> Result<Response<SetInstanceOverlayResponse>, Status> {
        let caller = caller(&request);
        instances::set_overlay(self, request.into_inner(), caller).await
    }

    async fn put_namespace(
        &self,
        request: Request<PutNamespaceRequest>,
    ) -> Result<Response<PutNamespaceResponse>, Status> {
        let caller = caller(&request);
        namespaces::put(self, request.into_inner(), caller).await
    }

    async fn get_namespace(
        &self,
        request: Request<GetNamespaceRequest>,
    ) -> Result<Response<GetNamespaceResponse>, Status> {
        namespaces::get(self, request.into_inner()).await
    }

    async fn list_namespaces(
        &self,
        request: Request<ListNamespacesRequest>,
    ) -> Result<Response<ListNamespacesResponse>, Status> {
        namespaces::list(self, request.into_inner()).await
    }

    async fn delete_namespace(
        &self,
        request: Request<DeleteNamespaceRequest>,
    ) -> Result<Response<DeleteNamespaceResponse>, Status> {
        let caller = caller(&request);
        namespaces::delete(self, request.into_inner(), caller).await
    }

    async fn release_brake(
        &self,
        request: Request<ReleaseBrakeRequest>,
    ) -> Result<Response<ReleaseBrakeResponse>, Status> {
        let caller = caller(&request);
        brake::release(self, request.into_inner(), caller).await
    }

    async fn list_subscribers(
        &self,
        request: Request<ListSubscribersRequest>,
    ) -> Result<Response<ListSubscribersResponse>, Status> {
        subscribers::list(&self.context, request.into_inner()).await
    }
}
