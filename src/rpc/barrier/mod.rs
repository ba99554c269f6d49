//! `BarrierService`: waiting for one another, at barriers and latches.

mod enter;
mod latch;

use stanchion_client::proto::{
    AwaitLatchRequest, AwaitLatchResponse, CountDownLatchRequest, CountDownLatchResponse,
    CreateLatchRequest, CreateLatchResponse, DeleteLatchRequest, DeleteLatchResponse,
    EnterBarrierRequest, EnterBarrierResponse, GetBarrierRequest, GetBarrierResponse,
    GetLatchRequest, GetLatchResponse, ListBarriersRequest, ListBarriersResponse,
    ListLatchesRequest, ListLatchesResponse,
};
use tonic::{Request, Response, Status, async_trait};

use crate::{
    proto::server::barrier_service_server::BarrierService,
    rpc::{Context, Peer},
};

/// The handler of `BarrierService`.
pub struct BarrierHandler {
    context: Context,
}

// === impl BarrierHandler ===

impl BarrierHandler {
    /// A handler over one replica.
    pub fn new(context: Context) -> Self {
        Self { context }
    }
}

#[async_trait]
impl BarrierService for BarrierHandler {
    async fn enter_barrier(
        &self,
        request: Request<EnterBarrierRequest>,
    ) -> Result<Response<EnterBarrierResponse>, Status> {
        let peer = Peer::of(&request);
        enter::enter(self, request.into_inner(), peer).await
    }

    async fn get_barrier(
        &self,
        request: Request<GetBarrierRequest>,
    ) -> Result<Response<GetBarrierResponse>, Status> {
        enter::get(self, request.into_inner()).await
    }

    async fn list_barriers(
        &self,
        request: Request<ListBarriersRequest>,
    ) -> Result<Response<ListBarriersResponse>, Status> {
        enter::list(self, request.into_inner()).await
    }

    async fn create_latch(
        &self,
        request: Request<CreateLatchRequest>,
    ) -> Result<Response<CreateLatchResponse>, Status> {
        latch::create(self, request.into_inner()).await
    }

    async fn count_down_latch(
        &self,
        request: Request<CountDownLatchRequest>,
    ) -> Result<Response<CountDownLatchResponse>, Status> {
        latch::count_down(self, request.into_inner()).await
    }

    async fn await_latch(
        &self,
        request: Request<AwaitLatchRequest>,
    ) -> Result<Response<AwaitLatchResponse>, Status> {
        latch::wait(self, request.into_inner()).await
    }

    async fn get_latch(
        &self,
        request: Request<GetLatchRequest>,
    ) -> Result<Response<GetLatchResponse>, Status> {
        latch::get(self, request.into_inner()).await
    }

    async fn list_latches(
        &self,
        request: Request<ListLatchesRequest>,
    ) -> Result<Response<ListLatchesResponse>, Status> {
        latch::list(self, request.into_inner()).await
    }

    async fn delete_latch(
        &self,
        request: Request<DeleteLatchRequest>,
    ) -> Result<Response<DeleteLatchResponse>, Status> {
        latch::delete(self, request.into_inner()).await
    }
}
