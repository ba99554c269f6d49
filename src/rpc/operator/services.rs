//! What is set for services.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use stanchion_client::proto::{
    self, DeleteServiceRequest, DeleteServiceResponse, GetServiceRequest, GetServiceResponse,
    PutServiceRequest, PutServiceResponse,
};
use tonic::{Response, Status};

use crate::{
    domain::{
        audit::Caller,
        keyspace::ServiceKey,
        names::{Namespace, ServiceName},
        put::Put,
        registry::{Export, ServiceSettings},
    },
    rpc::{
        convert::{Violations, delete, put, wire_duration},
        registry::{checks, wire_service, wire_service_name},
        status,
    },
};

use super::OperatorHandler;

/// The most labels.
const MAX_LABELS: usize = 64;
/// The most bytes of labels.
const MAX_LABEL_BYTES: usize = 16 * 1024;
/// The longest description, in bytes.
const MAX_DESCRIPTION: usize = 1024;
/// The most namespaces that a service is exported to.
const MAX_EXPORT: usize = 64;
/// Means that it is exported to all.
const EVERY_NAMESPACE: &str = "*";
/// The longest time after which an unhealthy instance is removed.
const MAX_REMOVAL: Duration = Duration::from_secs(24 * 3600);
/// The longest time over which a weight grows.
const MAX_SLOW_START: Duration = Duration::from_secs(3600);

pub(super) async fn put(
    handler: &OperatorHandler,
    request: PutServiceRequest,
    caller: Caller,
) -> Result<Response<PutServiceResponse>, Status> {
    let done = handler
        .registry
        .put_service(put_request(request, caller)?)
        .await;
    let done = done.map_err(status::of)?;
    Ok(Response::new(PutServiceResponse {
        header: Some(handler.context.header.at(done.revision)),
        settings: Some(wire_settings(&done.value)),
        unchanged: !done.changed,
    }))
}

pub(super) async fn get(
    handler: &OperatorHandler,
    request: GetServiceRequest,
) -> Result<Response<GetServiceResponse>, Status> {
    let mut v = Violations::new();
    let freshness = v.freshness(request.consistency, request.min_revision);
    let key = service_key(&mut v, &request.namespace, &request.service);
    let key = v.give(key)?;
    let found = handler.registry.get_service(&key, freshness).await;
    let (settings, service, view) = found.map_err(status::of)?;
    Ok(Response::new(GetServiceResponse {
        header: Some(handler.context.header.of(&view)),
        settings: settings.as_deref().map(wire_settings),
        service: service.as_ref().map(wire_service),
    }))
}

pub(super) async fn delete(
    handler: &OperatorHandler,
    request: DeleteServiceRequest,
    caller: Caller,
) -> Result<Response<DeleteServiceResponse>, Status> {
    let mut v = Violations::new();
    let key = service_key(&mut v, &request.namespace, &request.service);
    let delete = delete!(v, request, caller, key);
    let deleted = handler.registry.delete_service(delete).await;
    let deleted = deleted.map_err(status::of)?;
    Ok(Response::new(DeleteServiceResponse {
        header: Some(handler.context.header.at(deleted.revision)),
        deleted: deleted.changed,
    }))
}

fn put_request(request: PutServiceRequest, caller: Caller) -> Result<Put<ServiceSettings>, Status> {
    let mut v = Violations::new();
    let key = service_key(&mut v, &request.namespace, &request.service);
    let settings = v.required("settings", request.settings);
    let settings = key.map(|key| service_settings(&mut v, key, settings));
    Ok(put!(v, request, caller, settings))
}

pub(super) fn service_key(
    v: &mut Violations,
    namespace: &str,
    service: &str,
) -> Option<ServiceKey> {
    let namespace = v.namespace(namespace);
    let service = v.take("service", ServiceName::parse(service));
    Some(ServiceKey {
        namespace: namespace?,
        service: service?,
    })
}

fn service_settings(
    v: &mut Violations,
    key: ServiceKey,
    settings: proto::ServiceSettings,
) -> ServiceSettings {
    ServiceSettings {
        // Of the ports, some instances may have what others have not.
        checks: v.within("settings.", |v| checks::checks(v, settings.checks, None)),
        panic_threshold: percentage(v, "settings.panic_threshold", settings.panic_threshold),
        brake_off: settings.brake_off,
        remove_unhealthy_after: period(
            v,
            "settings.remove_unhealthy_after",
            settings.remove_unhealthy_after,
            MAX_REMOVAL,
        ),
        flap_damping: settings.flap_damping,
        slow_start: period(
            v,
            "settings.slow_start",
            settings.slow_start,
            MAX_SLOW_START,
        ),
        labels: labels(v, settings.labels),
        alias_of: settings
            .alias_of
            .and_then(|alias_of| alias(v, &key, &alias_of)),
        exported_to: export(v, &settings.exported_to),
        description: description(v, settings.description),
        ..ServiceSettings::unset(key)
    }
}

/// What the subject of settings is for.
pub(super) fn description(v: &mut Violations, text: String) -> String {
    v.text("settings.description", text, MAX_DESCRIPTION)
}

/// The labels in settings.
pub(super) fn labels(
    v: &mut Violations,
    labels: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    v.metadata("settings.labels", labels, MAX_LABELS, MAX_LABEL_BYTES)
}

/// The service that another one is an alias of.
fn alias(v: &mut Violations, of: &ServiceKey, name: &proto::ServiceName) -> Option<ServiceKey> {
    let namespace = match name.namespace.as_str() {
        "" => Some(of.namespace.clone()),
        text => v.take("settings.alias_of.namespace", Namespace::parse(text)),
    };
    let service = ServiceName::parse(&name.service);
    let target = ServiceKey {
        service: v.take("settings.alias_of.service", service)?,
        namespace: namespace?,
    };
    if target == *of {
        v.add("settings.alias_of", "must be another service");
    }
    Some(target)
}

fn export(v: &mut Violations, namespaces: &[String]) -> Export {
    if namespaces.len() > MAX_EXPORT {
        v.add(
            "settings.exported_to",
            format!("must be at most {MAX_EXPORT}"),
        );
    }
    let mut to = BTreeSet::new();
    for (index, name) in namespaces.iter().take(MAX_EXPORT).enumerate() {
        if name == EVERY_NAMESPACE {
            return Export::ToAll;
        }
        let field = format!("settings.exported_to[{index}]");
        to.extend(v.take(&field, Namespace::parse(name)));
    }
    Export::To(to)
}

fn percentage(v: &mut Violations, field: &str, value: Option<i32>) -> Option<u32> {
    let value = value?;
    let parsed = u32::try_from(value).ok().filter(|value| *value <= 100);
    if parsed.is_none() {
        v.add(field, "must be from 0 to 100");
    }
    parsed
}

/// A time from a second to `limit`.
fn period(
    v: &mut Violations,
    field: &str,
    value: Option<prost_types::Duration>,
    limit: Duration,
) -> Option<Duration> {
    let value = v.duration(field, value)?;
    if value < Duration::from_secs(1) || value > limit {
        let limit = humantime::format_duration(limit);
        v.add(field, format!("must be from 1s to {limit}"));
    }
    Some(value)
}

fn wire_settings(settings: &ServiceSettings) -> proto::ServiceSettings {
    let percentage = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
    proto::ServiceSettings {
        namespace: settings.key.namespace.to_string(),
        service: settings.key.service.to_string(),
        checks: checks::wire_checks(&settings.checks),
        panic_threshold: settings.panic_threshold.map(percentage),
        brake_off: settings.brake_off,
        brake_released_until: settings.brake_released_until.map(Into::into),
        remove_unhealthy_after: settings.remove_unhealthy_after.map(wire_duration),
        flap_damping: settings.flap_damping,
        slow_start: settings.slow_start.map(wire_duration),
        labels: settings.labels.clone(),
        description: settings.description.clone(),
        alias_of: settings.alias_of.as_ref().map(wire_service_name),
        exported_to: match &settings.exported_to {
            Export::To(namespaces) => namespaces.iter().map(ToString::to_string).collect(),
            Export::ToAll => vec![EVERY_NAMESPACE.to_owned()],
        },
        author: settings.author.to_string(),
        update_time: Some(settings.update_time.into()),
        revision: settings.mod_revision,
    }
}
