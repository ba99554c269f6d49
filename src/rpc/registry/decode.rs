//! The registry's requests, checked.

use std::{collections::BTreeSet, time::Duration};

use stanchion_client::proto::{
    self, BatchRegisterInstancesRequest, DeregisterInstanceRequest, RegisterInstanceRequest,
    UpdateInstanceRequest, register_instance_request::Liveness as Said,
};
use tonic::Status;

use crate::{
    domain::{
        audit::ANONYMOUS,
        keyspace::InstanceKey,
        names::{InstanceId, NameError, Namespace, ServiceName},
        registry::{Deregistration, Liveness, NewInstance, Terms, Update},
        session::OpenSession,
        session_id::SessionId,
    },
    rpc::convert::Violations,
};

use super::fields::{patch, spec};

/// The most instances of a batch.
const MAX_BATCH: usize = 64;

pub(super) fn register_request(
    request: RegisterInstanceRequest,
) -> Result<(NewInstance, Terms), Status> {
    let mut v = Violations::new();
    let namespace = v.namespace(&request.namespace);
    let instance = v.required("instance", request.instance);
    let instance = v.within("instance.", |v| new_instance(v, namespace, instance));
    let expected_revision = v.expected_revision(request.expected_revision, 0);
    let terms = Terms {
        liveness: liveness(&mut v, request.liveness, &request.client_id),
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
        let id = (instance.service.clone(), instance.instance_id.clone());
        let parsed = v.within(format_args!("instances[{index}]."), |v| {
            if !id.1.is_empty() && !ids.insert(id) {
                v.add("instance_id", "must be distinct within a service");
            }
            new_instance(v, namespace.clone(), instance)
        });
        instances.extend(parsed);
    }
    let said = request.liveness.map(|liveness| match liveness {
        Liveness::SessionId(id) => Said::SessionId(id),
        Liveness::Ttl(ttl) => Said::Ttl(ttl),
        Liveness::Persistent(persistent) => Said::Persistent(persistent),
    });
    let terms = Terms {
        liveness: liveness(&mut v, said, &request.client_id),
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
    let instance = v.required("instance", request.instance);
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

pub(in crate::rpc) fn key(
    v: &mut Violations,
    (prefix, namespace): (&str, &str),
    service: &str,
    id: &str,
) -> Option<InstanceKey> {
    let namespace = v.namespace(namespace);
    let (service, id) = v.within(prefix, |v| {
        let service = v.take("service", ServiceName::parse(service));
        (service, v.take("instance_id", InstanceId::parse(id)))
    });
    Some(InstanceKey {
        namespace: namespace?,
        service: service?,
        id: id?,
    })
}

fn new_instance(
    v: &mut Violations,
    namespace: Option<Namespace>,
    instance: proto::Instance,
) -> Option<NewInstance> {
    let service = v.take("service", ServiceName::parse(&instance.service));
    let id = match instance.instance_id.as_str() {
        "" => Some(None),
        text => v.take("instance_id", InstanceId::parse(text)).map(Some),
    };
    let spec = spec(v, instance);
    Some(NewInstance {
        namespace: namespace?,
        service: service?,
        id: id?,
        spec,
        expected_revision: None,
    })
}

/// What keeps an instance alive.
fn liveness(v: &mut Violations, said: Option<Said>, client_id: &str) -> Liveness {
    let client_id = v.label("client_id", client_id);
    let ttl = match said {
        Some(Said::Persistent(true)) => return Liveness::Persistent,
        Some(Said::SessionId(id)) => return Liveness::Session(session_id(v, &id)),
        Some(Said::Ttl(ttl)) => v.duration("ttl", Some(ttl)),
        Some(Said::Persistent(false)) | None => None,
    };
    Liveness::Open(OpenSession {
        ttl: ttl.filter(|ttl| *ttl > Duration::ZERO),
        client_id,
        principal: ANONYMOUS.into(),
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
