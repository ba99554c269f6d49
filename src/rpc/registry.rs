//! `RegistryService`.

use stanchion_client::proto::{
    AckWatchRequest, AckWatchResponse, BatchRegisterInstancesRequest,
    BatchRegisterInstancesResponse, DeregisterInstanceRequest, DeregisterInstanceResponse,
    DrainInstanceRequest, GetInstanceRequest, GetInstanceResponse, ListInstancesRequest,
    ListInstancesResponse, ListServicesRequest, ListServicesResponse, RegisterInstanceRequest,
    RegisterInstanceResponse, ReportHealthRequest, ReportHealthResponse, UpdateInstanceRequest,
    UpdateInstanceResponse, WatchInstancesRequest, WatchInstancesResponse, WatchServicesRequest,
    WatchServicesResponse,
};
use tonic::{Request, Response, Status, async_trait};

use crate::{
    domain::{names::NameError, registry::Registry},
    proto::server::registry_service_server::RegistryService,
    rpc::{
        Context, Peer,
        convert::{Violations, caller},
        page, status,
        watch::WatchStream,
    },
};

pub(super) use self::{
    decode::key as instance_key,
    encode::{wire_decision, wire_service, wire_service_name},
};
use self::{
    decode::{deregister_request, update_request},
    drain::DrainStream,
    encode::wire_instance,
    health::report_request,
    selection::service_selection,
};

pub(super) mod checks;
mod decode;
mod drain;
mod encode;
pub(super) mod fields;
mod get;
mod health;
mod list;
mod register;
mod selection;
mod subscribe;
mod watch;

/// The handler of `RegistryService`.
pub struct RegistryHandler {
    context: Context,
    registry: Registry,
}

// === impl RegistryHandler ===

impl RegistryHandler {
    /// A handler over one replica.
    pub fn new(context: Context) -> Self {
        Self {
            registry: Registry::new(context.core.clone(), context.sessions.clone()),
            context,
        }
    }
}

#[async_trait]
impl RegistryService for RegistryHandler {
    async fn register_instance(
        &self,
        request: Request<RegisterInstanceRequest>,
    ) -> Result<Response<RegisterInstanceResponse>, Status> {
        self.register(request.into_inner()).await
    }

    async fn batch_register_instances(
        &self,
        request: Request<BatchRegisterInstancesRequest>,
    ) -> Result<Response<BatchRegisterInstancesResponse>, Status> {
        self.register_all(request.into_inner()).await
    }

    async fn update_instance(
        &self,
        request: Request<UpdateInstanceRequest>,
    ) -> Result<Response<UpdateInstanceResponse>, Status> {
        let update = update_request(request.into_inner())?;
        let updated = self.registry.update(update).await.map_err(status::of)?;
        Ok(Response::new(UpdateInstanceResponse {
            header: Some(self.context.header.at(updated.revision)),
            instance: Some(wire_instance(&updated.instance)),
        }))
    }

    async fn deregister_instance(
        &self,
        request: Request<DeregisterInstanceRequest>,
    ) -> Result<Response<DeregisterInstanceResponse>, Status> {
        let request = deregister_request(request.into_inner())?;
        let deregistered = self.registry.deregister(request).await;
        let deregistered = deregistered.map_err(status::of)?;
        Ok(Response::new(DeregisterInstanceResponse {
            header: Some(self.context.header.at(deregistered.revision)),
            deregistered: deregistered.removed,
        }))
    }

    async fn report_health(
        &self,
        request: Request<ReportHealthRequest>,
    ) -> Result<Response<ReportHealthResponse>, Status> {
        let note = report_request(request.into_inner())?;
        let noted = self.registry.note(&note).await.map_err(status::of)?;
        Ok(Response::new(ReportHealthResponse {
            header: Some(self.context.header.at(noted.revision)),
            instance: Some(wire_instance(&noted.instance)),
        }))
    }

    async fn get_instance(
        &self,
        request: Request<GetInstanceRequest>,
    ) -> Result<Response<GetInstanceResponse>, Status> {
        self.get(request.into_inner()).await
    }

    async fn list_instances(
        &self,
        request: Request<ListInstancesRequest>,
    ) -> Result<Response<ListInstancesResponse>, Status> {
        Ok(self.list(request.into_inner()).await?.into_answer())
    }

    async fn list_services(
        &self,
        request: Request<ListServicesRequest>,
    ) -> Result<Response<ListServicesResponse>, Status> {
        let request = request.into_inner();
        let mut v = Violations::new();
        let freshness = v.freshness(request.consistency, request.min_revision);
        let size = v.page_size(request.page_size);
        let selection = service_selection(&mut v, &request.namespace, &request.prefix);
        let selection = v.give(selection)?;
        let view = self.registry.read(freshness).await.map_err(status::of)?;
        let page = page::resumable(&view, &selection, &request.page_token, size)?;
        Ok(Response::new(ListServicesResponse {
            header: Some(self.context.header.of(&view)),
            services: page.items.iter().map(wire_service).collect(),
            next_page_token: page.next,
            resume_token: page.resume,
        }))
    }

    type WatchInstancesStream = WatchStream<WatchInstancesResponse>;

    async fn watch_instances(
        &self,
        request: Request<WatchInstancesRequest>,
    ) -> Result<Response<Self::WatchInstancesStream>, Status> {
        let peer = Peer::of(&request);
        self.open_instances(request.into_inner(), peer)
    }

    type DrainInstanceStream = DrainStream;

    async fn drain_instance(
        &self,
        request: Request<DrainInstanceRequest>,
    ) -> Result<Response<DrainStream>, Status> {
        let caller = caller(&request);
        drain::answer(&self.context, request.into_inner(), caller).await
    }

    async fn ack_watch(
        &self,
        request: Request<AckWatchRequest>,
    ) -> Result<Response<AckWatchResponse>, Status> {
        let request = request.into_inner();
        let mut v = Violations::new();
        if request.acks.is_empty() {
            v.add("acks", NameError::Empty);
        }
        let acks = v.acks(request.acks);
        v.check()?;
        Ok(Response::new(AckWatchResponse {
            header: Some(self.context.header.now()),
            unknown_subscriber_ids: self.context.acknowledge(acks),
        }))
    }

    type WatchServicesStream = WatchStream<WatchServicesResponse>;

    async fn watch_services(
        &self,
        request: Request<WatchServicesRequest>,
    ) -> Result<Response<Self::WatchServicesStream>, Status> {
        self.open_services(request.into_inner())
    }
}
