//! Watches of instances and of services.

use stanchion_client::proto::{
    self, WatchInstancesRequest, WatchInstancesResponse, WatchServicesRequest,
    WatchServicesResponse,
};
use tonic::{Response, Status};

use crate::{
    domain::{
        registry::{Instances, Watching},
        watch::Start,
    },
    rpc::{
        Context, Peer,
        convert::Violations,
        status,
        watch::{self, Routed, Routing, WatchStream, watch_response},
    },
};

use super::{
    RegistryHandler,
    encode::{wire_instance, wire_service, wire_service_name},
    selection::{instance_selection, service_selection},
    subscribe::{takes_away, watching},
};

watch_response!(
    WatchInstancesResponse in watch_instances_response,
    InstanceSnapshot { instances },
    InstanceDelta,
    InstanceEvent { instance: proto::Instance },
    protected,
    ack_requested
);
watch_response!(
    WatchServicesResponse in watch_services_response,
    ServiceSnapshot { services },
    ServiceDelta,
    ServiceEvent { service: proto::Service }
);

// === impl RegistryHandler ===

impl RegistryHandler {
    /// Opens a watch of the instances of a service.
    pub(super) fn open_instances(
        &self,
        request: WatchInstancesRequest,
        peer: Option<Peer>,
    ) -> Result<Response<WatchStream<WatchInstancesResponse>>, Status> {
        let mut v = Violations::new();
        let watching = watching(&mut v, &request);
        let start = v.start(request.start, &self.context.header.epoch());
        let min_interval = v.min_interval(request.min_interval);
        let selection = instance_selection(
            &mut v,
            &request.namespace,
            &request.service,
            request.view,
            &request.filter,
        );
        let (watching, selection) = v.give(watching.zip(selection))?;
        let Context { core, settings, .. } = &self.context;
        let view = core.cache.view();
        let view = view.map_err(|error| status::of(error.into()))?;
        let selection = selection.routed(&view.state);
        let (start, routing) = route(&selection, start, view.state.routes_revision);
        let watching = Watching {
            service: selection.shown().unwrap_or(watching.service),
            ..watching
        };
        let epoch = view.state.epoch.id;
        let subscription = self.subscribe(watching, (&start, epoch), peer);
        let terms = watch::Terms {
            start,
            min_interval,
            subscription: Some(subscription),
            asks: Some(takes_away),
        };
        let routing = Some(routing);
        watch::open_routed(
            core,
            &settings.watch,
            selection,
            terms,
            wire_instance,
            routing,
        )
    }

    /// Opens a watch of services.
    pub(super) fn open_services(
        &self,
        request: WatchServicesRequest,
    ) -> Result<Response<WatchStream<WatchServicesResponse>>, Status> {
        let mut v = Violations::new();
        let start = v.start(request.start, &self.context.header.epoch());
        let min_interval = v.min_interval(request.min_interval);
        let selection = service_selection(&mut v, &request.namespace, &request.prefix);
        let selection = v.give(selection)?;
        let Context { core, settings, .. } = &self.context;
        let terms = watch::Terms::new(start, min_interval);
        watch::open(core, &settings.watch, selection, terms, wire_service)
    }
}

/// How a watch of a service that may be an alias is opened. A position of where it led before says
/// nothing of where it leads now, and a revision does not say where it led.
fn route(selection: &Instances, start: Start, as_of: i64) -> (Start, Routing<Instances>) {
    let moved = match &start {
        Start::Resume(token) => selection.leads_elsewhere_than(token.digest),
        Start::After(_) => selection.is_alias(),
        Start::Snapshot | Start::Elsewhere => false,
    };
    let routing = Routing {
        moved,
        as_of,
        follow: Instances::rerouted,
        service: Instances::shown,
        tell: |selection| Routed {
            answered_by: selection.answered_by().map(wire_service_name),
            broken: selection.is_broken(),
        },
        protected: |selection, state| selection.service(state).is_some_and(|s| s.protected),
    };
    (if moved { Start::Snapshot } else { start }, routing)
}
