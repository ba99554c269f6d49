//! `RegistryService`.

use std::{sync::Arc, time::Instant};

use stanchion_client::proto::{
    AckWatchRequest, AckWatchResponse, BatchRegisterInstancesRequest,
    BatchRegisterInstancesResponse, DeregisterInstanceRequest, DeregisterInstanceResponse,
    DrainInstanceRequest, GetInstanceRequest, GetInstanceResponse, ListInstancesRequest,
    ListInstancesResponse, ListServicesRequest, ListServicesResponse, RegisterInstanceRequest,
    RegisterInstanceResponse, RegisterOutcome, ReportHealthRequest, ReportHealthResponse,
    UpdateInstanceRequest, UpdateInstanceResponse, WatchInstancesRequest, WatchInstancesResponse,
    WatchServicesRequest, WatchServicesResponse, register_outcome::Outcome,
};
use tonic::{Request, Response, Status, async_trait};

use crate::{
    domain::{
        Error,
        names::NameError,
        registry::{Instance, Instances, Registered, Registry, Support, Watching},
        state::State,
        watch::Start,
    },
    proto::server::registry_service_server::RegistryService,
    rpc::{
        Context, Peer,
        convert::{Violations, wire_duration},
        page, status,
        watch::{self, Routed, Routing, WatchStream},
    },
};

pub(super) use self::{
    decode::key as instance_key,
    encode::{wire_decision, wire_service, wire_service_name},
};
use self::{
    decode::{
        batch_request, deregister_request, instance_selection, key, register_request,
        service_selection, update_request,
    },
    drain::DrainStream,
    encode::{wire_error, wire_instance, wire_instance_at},
    health::{report_request, wire_findings},
    subscribe::{takes_away, watching},
};

pub(super) mod checks;
mod decode;
mod drain;
mod encode;
pub(super) mod fields;
mod health;
mod list;
mod subscribe;

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

    fn now(&self) -> Instant {
        self.context.core.clock.now()
    }

    fn epoch(&self) -> String {
        let view = self.context.core.cache.view();
        view.map_or(String::new(), |view| view.state.epoch.name())
    }
}

#[async_trait]
impl RegistryService for RegistryHandler {
    async fn register_instance(
        &self,
        request: Request<RegisterInstanceRequest>,
    ) -> Result<Response<RegisterInstanceResponse>, Status> {
        let received = self.now();
        let (instance, terms) = register_request(request.into_inner())?;
        let registered = self.registry.register(vec![instance], terms).await;
        let (instance, support, revision) = single(registered).map_err(status::of)?;
        let (session_id, ttl, valid_for) = carrier(support, received);
        Ok(Response::new(RegisterInstanceResponse {
            header: Some(self.context.header.at(revision)),
            instance: Some(wire_instance(&instance)),
            session_id,
            ttl,
            valid_for,
        }))
    }

    async fn batch_register_instances(
        &self,
        request: Request<BatchRegisterInstancesRequest>,
    ) -> Result<Response<BatchRegisterInstancesResponse>, Status> {
        let received = self.now();
        let (instances, terms) = batch_request(request.into_inner())?;
        let registered = self.registry.register(instances, terms).await;
        let registered = registered.map_err(status::of)?;
        let outcome = |outcome: Result<Arc<Instance>, Error>| RegisterOutcome {
            outcome: Some(match outcome {
                Ok(instance) => Outcome::Instance(wire_instance(&instance)),
                Err(error) => Outcome::Error(wire_error(&error)),
            }),
        };
        let (session_id, ttl, valid_for) = carrier(registered.support, received);
        Ok(Response::new(BatchRegisterInstancesResponse {
            header: Some(self.context.header.at(registered.revision)),
            outcomes: registered.outcomes.into_iter().map(outcome).collect(),
            session_id,
            ttl,
            valid_for,
        }))
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
        let request = request.into_inner();
        let mut v = Violations::new();
        let freshness = v.freshness(request.consistency, request.min_revision);
        let key = key(
            &mut v,
            ("", &request.namespace),
            &request.service,
            &request.instance_id,
        );
        let key = v.give(key)?;
        let found = self.registry.get(&key, freshness).await;
        let (instance, view) = found.map_err(status::of)?;
        let now = self.context.core.clock.system_time();
        let (findings, damping) = wire_findings(
            view.state
                .health
                .get(key.path().as_bytes())
                .map(Arc::as_ref),
            &instance,
            view.state.checks_of(&instance.record),
            now,
        );
        let decided = view.state.operators.get(key.path().as_bytes());
        Ok(Response::new(GetInstanceResponse {
            header: Some(self.context.header.of(&view)),
            instance: Some(wire_instance_at(&instance, now)),
            findings,
            damping,
            decision: decided.map(|operator| wire_decision(operator)),
            registered: instance.overlaid.is_some().then(|| {
                let registered = Instance {
                    overlaid: None,
                    ..Instance::clone(&instance)
                };
                wire_instance(&Arc::new(registered))
            }),
        }))
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
            resume_token: page
                .resume
                .map(|token| token.encode())
                .unwrap_or_default()
                .into(),
        }))
    }

    type WatchInstancesStream = WatchStream<WatchInstancesResponse>;

    async fn watch_instances(
        &self,
        request: Request<WatchInstancesRequest>,
    ) -> Result<Response<Self::WatchInstancesStream>, Status> {
        let peer = Peer::of(&request);
        let request = request.into_inner();
        let mut v = Violations::new();
        let watching = watching(&mut v, &request);
        let start = v.start(request.start, &self.epoch());
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
        let subscription = self.subscribe(watching, &start, peer);
        let protected = {
            let selection = selection.clone();
            move |state: &State| {
                let routed = selection.routed(state);
                routed.service(state).is_some_and(|s| s.protected)
            }
        };
        let terms = watch::Terms {
            start,
            min_interval,
            protected: Some(Arc::new(protected)),
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

    type DrainInstanceStream = DrainStream;

    async fn drain_instance(
        &self,
        request: Request<DrainInstanceRequest>,
    ) -> Result<Response<DrainStream>, Status> {
        drain::answer(&self.context, request.into_inner()).await
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
        let request = request.into_inner();
        let mut v = Violations::new();
        let start = v.start(request.start, &self.epoch());
        let min_interval = v.min_interval(request.min_interval);
        let selection = service_selection(&mut v, &request.namespace, &request.prefix);
        let selection = v.give(selection)?;
        let Context { core, settings, .. } = &self.context;
        let terms = watch::Terms::new(start, min_interval);
        watch::open(core, &settings.watch, selection, terms, wire_service)
    }
}

watch::watch_response!(
    WatchInstancesResponse in watch_instances_response,
    InstanceSnapshot { instances },
    InstanceDelta,
    InstanceEvent { instance: stanchion_client::proto::Instance },
    protected,
    ack_requested
);
watch::watch_response!(
    WatchServicesResponse in watch_services_response,
    ServiceSnapshot { services },
    ServiceDelta,
    ServiceEvent { service: stanchion_client::proto::Service }
);

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
    };
    (if moved { Start::Snapshot } else { start }, routing)
}

/// The outcome of a registration of one instance.
fn single(
    registered: Result<Registered, Error>,
) -> Result<(Arc<Instance>, Option<Support>, i64), Error> {
    let mut registered = registered?;
    match registered.outcomes.pop() {
        Some(outcome) => Ok((outcome?, registered.support, registered.revision)),
        None => Err(Error::Internal("a registration without an outcome".into())),
    }
}

/// What an answer says of the session behind a registration.
fn carrier(
    support: Option<Support>,
    received: Instant,
) -> (
    String,
    Option<prost_types::Duration>,
    Option<prost_types::Duration>,
) {
    match support {
        None => (String::new(), None, None),
        Some(support) => (
            support.session.id.to_text(),
            Some(wire_duration(support.session.ttl)),
            // The caller counts from when it sent the request, which was before we received it.
            support
                .valid_until
                .map(|until| wire_duration(until.saturating_duration_since(received))),
        ),
    }
}
