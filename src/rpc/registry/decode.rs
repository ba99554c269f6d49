//! The registry's requests, checked.

use std::{collections::BTreeSet, time::Duration};

use stanchion_client::proto::{
    self, BatchRegisterInstancesRequest, DeregisterInstanceRequest, RegisterInstanceRequest,
    UpdateInstanceRequest,
};
use tonic::Status;

use crate::{
    domain::{
        keyspace::InstanceKey,
        names::{InstanceId, NameError, Namespace, ServiceName},
        registry::{
            Deregistration, Filter, InstanceView, Instances, Liveness, Locality, NewInstance,
            RemovedInstances, Services, Terms, Update,
        },
        session::OpenSession,
        session_id::SessionId,
    },
    rpc::convert::Violations,
};

use super::fields::{patch, spec, text};

/// The most instances of a batch.
const MAX_BATCH: usize = 64;
/// What keeps an instance alive, from either request.
enum Support {
    Session(String),
    Ttl(prost_types::Duration),
    Persistent,
    Unsaid,
}

pub(super) fn register_request(
    request: RegisterInstanceRequest,
) -> Result<(NewInstance, Terms), Status> {
    use proto::register_instance_request::Liveness;
    let mut v = Violations::new();
    let namespace = v.namespace(&request.namespace);
    let instance = required(&mut v, request.instance);
    let instance = new_instance(&mut v, "instance.", namespace, instance);
    let expected_revision = v.expected_revision(request.expected_revision, 0);
    let support = match request.liveness {
        Some(Liveness::SessionId(id)) => Support::Session(id),
        Some(Liveness::Ttl(ttl)) => Support::Ttl(ttl),
        Some(Liveness::Persistent(true)) => Support::Persistent,
        Some(Liveness::Persistent(false)) | None => Support::Unsaid,
    };
    let terms = Terms {
        liveness: liveness(&mut v, support, &request.client_id),
        takeover: request.takeover,
        request_id: v.request_id(&request.request_id),
        guard: v.guard(request.guard, &request.namespace),
        actor: v.label("actor", &request.actor),
    };
    let instance = v.give(instance)?;
    let instance = NewInstance {
        expected_revision,
        ..instance
    };
    Ok((instance, terms))
}

pub(super) fn batch_request(
    request: BatchRegisterInstancesRequest,
) -> Result<(Vec<NewInstance>, Terms), Status> {
    use proto::batch_register_instances_request::Liveness;
    let mut v = Violations::new();
    let namespace = v.namespace(&request.namespace);
    match request.instances.len() {
        0 => v.add("instances", NameError::Empty),
        count if count > MAX_BATCH => v.add(
            "instances",
            format!("must be at most {MAX_BATCH}, are {count}"),
        ),
        _ => {}
    }
    let mut ids = BTreeSet::new();
    let mut instances = Vec::new();
    for (index, instance) in request.instances.into_iter().take(MAX_BATCH).enumerate() {
        let prefix = format!("instances[{index}].");
        let id = (instance.service.clone(), instance.instance_id.clone());
        if !id.1.is_empty() && !ids.insert(id) {
            v.add(
                format!("{prefix}instance_id"),
                "must be distinct within a service",
            );
        }
        instances.extend(new_instance(&mut v, &prefix, namespace.clone(), instance));
    }
    let support = match request.liveness {
        Some(Liveness::SessionId(id)) => Support::Session(id),
        Some(Liveness::Ttl(ttl)) => Support::Ttl(ttl),
        Some(Liveness::Persistent(true)) => Support::Persistent,
        Some(Liveness::Persistent(false)) | None => Support::Unsaid,
    };
    let terms = Terms {
        liveness: liveness(&mut v, support, &request.client_id),
        takeover: request.takeover,
        request_id: v.request_id(&request.request_id),
        guard: v.guard(request.guard, &request.namespace),
        actor: v.label("actor", &request.actor),
    };
    v.check()?;
    Ok((instances, terms))
}

pub(super) fn update_request(request: UpdateInstanceRequest) -> Result<Update, Status> {
    let mut v = Violations::new();
    let instance = required(&mut v, request.instance);
    let key = key(
        &mut v,
        ("instance.", &request.namespace),
        &instance.service,
        &instance.instance_id,
    );
    let paths = request.update_mask.unwrap_or_default().paths;
    if paths.is_empty() {
        v.add("update_mask", "must name a field");
    }
    let patch = patch(&mut v, &paths, instance);
    let session = session(&mut v, &request.session_id);
    let expected_revision = v.expected_revision(request.expected_revision, 1);
    let request_id = v.request_id(&request.request_id);
    let guard = v.guard(request.guard, &request.namespace);
    let actor = v.label("actor", &request.actor);
    let key = v.give(key)?;
    Ok(Update {
        key,
        patch,
        session,
        expected_revision,
        request_id,
        guard,
        actor,
    })
}

pub(super) fn deregister_request(
    request: DeregisterInstanceRequest,
) -> Result<Deregistration, Status> {
    let mut v = Violations::new();
    let key = key(
        &mut v,
        ("", &request.namespace),
        &request.service,
        &request.instance_id,
    );
    let session = session(&mut v, &request.session_id);
    let expected_revision = v.expected_revision(request.expected_revision, 1);
    let request_id = v.request_id(&request.request_id);
    let guard = v.guard(request.guard, &request.namespace);
    let actor = v.label("actor", &request.actor);
    let key = v.give(key)?;
    Ok(Deregistration {
        key,
        session,
        expected_revision,
        request_id,
        guard,
        actor,
    })
}

pub(super) fn instance_selection(
    v: &mut Violations,
    namespace: &str,
    service: &str,
    view: i32,
    filter: &str,
) -> Option<Instances> {
    let namespace = v.namespace(namespace);
    let service = v.take("service", ServiceName::parse(service));
    let view = match proto::InstanceView::try_from(view) {
        Ok(proto::InstanceView::Unspecified | proto::InstanceView::Serving) => {
            InstanceView::Serving
        }
        Ok(proto::InstanceView::All) => InstanceView::All,
        Ok(proto::InstanceView::Removed) => {
            v.add("view", "is for lists alone, and without a locality");
            InstanceView::Serving
        }
        Err(_) => {
            v.add("view", "is not a known value");
            InstanceView::Serving
        }
    };
    let filter = filter_of(v, filter)?;
    Some(Instances::of(&namespace?, &service?, view).filtered(filter))
}

pub(super) fn removed_selection(
    v: &mut Violations,
    namespace: &str,
    service: &str,
    filter: &str,
) -> Option<RemovedInstances> {
    let namespace = v.namespace(namespace);
    let service = v.take("service", ServiceName::parse(service));
    let filter = filter_of(v, filter)?;
    Some(RemovedInstances::of(&namespace?, &service?, filter))
}

/// A filter that may be left out.
fn filter_of(v: &mut Violations, text: &str) -> Option<Option<Filter>> {
    match text {
        "" => Some(None),
        text => v.take("filter", Filter::parse(text)).map(Some),
    }
}

/// Where the caller is, if it says so.
pub(super) fn locality(v: &mut Violations, locality: Option<proto::Locality>) -> Option<Locality> {
    let locality = locality?;
    if locality.region.is_empty() && locality.zone.is_empty() {
        v.add("locality", "must say a region or a zone");
    }
    if locality
        .failover_threshold
        .is_some_and(|share| !(0.0..=1.0).contains(&share))
    {
        v.add("locality.failover_threshold", "must be from 0 to 1");
    }
    Some(Locality {
        region: text(v, "locality.region", locality.region),
        zone: text(v, "locality.zone", locality.zone),
        failover_threshold: locality.failover_threshold,
    })
}

pub(super) fn service_selection(
    v: &mut Violations,
    namespace: &str,
    prefix: &str,
) -> Option<Services> {
    let namespace = v.namespace(namespace);
    match ServiceName::parse(prefix) {
        // What names cannot be, they can begin with.
        Ok(_) | Err(NameError::Empty | NameError::Dots) => {}
        Err(error) => v.add("prefix", error),
    }
    Some(Services::of(&namespace?, prefix))
}

pub(in crate::rpc) fn key(
    v: &mut Violations,
    (prefix, namespace): (&str, &str),
    service: &str,
    id: &str,
) -> Option<InstanceKey> {
    let namespace = v.namespace(namespace);
    let service = v.take(&format!("{prefix}service"), ServiceName::parse(service));
    let id = v.take(&format!("{prefix}instance_id"), InstanceId::parse(id));
    Some(InstanceKey {
        namespace: namespace?,
        service: service?,
        id: id?,
    })
}

fn required(v: &mut Violations, instance: Option<proto::Instance>) -> proto::Instance {
    instance.unwrap_or_else(|| {
        v.add("instance", NameError::Empty);
        proto::Instance::default()
    })
}

fn new_instance(
    v: &mut Violations,
    prefix: &str,
    namespace: Option<Namespace>,
    instance: proto::Instance,
) -> Option<NewInstance> {
    let at = |field: &str| format!("{prefix}{field}");
    let service = v.take(&at("service"), ServiceName::parse(&instance.service));
    let id = match instance.instance_id.as_str() {
        "" => Some(None),
        text => v
            .take(&at("instance_id"), InstanceId::parse(text))
            .map(Some),
    };
    let spec = spec(v, prefix, instance);
    Some(NewInstance {
        namespace: namespace?,
        service: service?,
        id: id?,
        spec,
        expected_revision: None,
    })
}

fn liveness(v: &mut Violations, support: Support, client_id: &str) -> Liveness {
    let client_id = v.label("client_id", client_id);
    let ttl = match support {
        Support::Persistent => return Liveness::Persistent,
        Support::Session(id) => return Liveness::Session(session_id(v, &id)),
        Support::Ttl(ttl) => v.duration("ttl", Some(ttl)),
        Support::Unsaid => None,
    };
    Liveness::Open(OpenSession {
        ttl: ttl.filter(|ttl| *ttl > Duration::ZERO),
        client_id,
        principal: "anonymous".into(),
        ..OpenSession::default()
    })
}

/// A session that may be left out.
pub(super) fn session(v: &mut Violations, text: &str) -> Option<SessionId> {
    (!text.is_empty()).then(|| session_id(v, text))
}

/// A text that cannot be an id is like an id that is gone: no session has it, nor ever will.
fn session_id(v: &mut Violations, text: &str) -> SessionId {
    v.session_id(text).unwrap_or_else(SessionId::random)
}
