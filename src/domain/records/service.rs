//! The stored form of what was set for services and namespaces.

use bytes::Bytes;

use crate::{
    domain::{
        keyspace::ServiceKey,
        names::{Namespace, ServiceName},
        namespace::{NamespaceSettings, Quotas},
        registry::{Export, ServiceSettings},
    },
    proto::store as wire,
    store::KeyValue,
};

use super::{
    DecodeError, FORMAT,
    check::{checks, wire_checks},
    decode, duration, encode, label, optional_time, time, wire_duration,
};

/// How it is stored that every namespace may show the instances of a service.
const EVERY_NAMESPACE: &str = "*";

/// Reads the settings of a service.
pub fn service(key: ServiceKey, kv: &KeyValue) -> Result<ServiceSettings, DecodeError> {
    let record: wire::Service = decode(kv)?;
    let length = |value: Option<_>, field| match value {
        None => Ok(None),
        value => duration(value, field).map(Some),
    };
    Ok(ServiceSettings {
        key,
        checks: checks(record.checks)?,
        panic_threshold: record.panic_threshold,
        brake_off: record.brake_off,
        brake_released_until: optional_time(record.brake_released_until, "brake_released_until")?,
        remove_unhealthy_after: length(record.remove_unhealthy_after, "remove_unhealthy_after")?,
        flap_damping: record.flap_damping,
        slow_start: length(record.slow_start, "slow_start")?,
        labels: record.labels,
        description: record.description,
        alias_of: record.alias_of.map(service_key).transpose()?,
        exported_to: export(&record.exported_to)?,
        author: label(&record.author, "author")?,
        update_time: time(record.update_time, "update_time")?,
        request_id: record.request_id,
        format: record.format,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
    })
}

/// Writes the settings of a service.
pub fn encode_service(settings: &ServiceSettings) -> Bytes {
    let target = |key: &ServiceKey| wire::ServiceName {
        namespace: key.namespace.to_string(),
        service: key.service.to_string(),
    };
    encode(&wire::Service {
        format: FORMAT,
        checks: wire_checks(&settings.checks),
        panic_threshold: settings.panic_threshold,
        brake_off: settings.brake_off,
        brake_released_until: settings.brake_released_until.map(Into::into),
        remove_unhealthy_after: settings.remove_unhealthy_after.map(wire_duration),
        flap_damping: settings.flap_damping,
        slow_start: settings.slow_start.map(wire_duration),
        labels: settings.labels.clone(),
        description: settings.description.clone(),
        alias_of: settings.alias_of.as_ref().map(target),
        exported_to: match &settings.exported_to {
            Export::To(namespaces) => namespaces.iter().map(ToString::to_string).collect(),
            Export::ToAll => vec![EVERY_NAMESPACE.into()],
        },
        author: settings.author.to_string(),
        update_time: Some(settings.update_time.into()),
        request_id: settings.request_id.clone(),
    })
}

/// Reads the settings of a namespace.
pub fn namespace(namespace: Namespace, kv: &KeyValue) -> Result<NamespaceSettings, DecodeError> {
    let record: wire::Namespace = decode(kv)?;
    Ok(NamespaceSettings {
        namespace,
        description: record.description,
        labels: record.labels,
        quotas: Quotas {
            instances: record.max_instances,
            services: record.max_services,
            sessions: record.max_sessions,
        },
        author: label(&record.author, "author")?,
        update_time: time(record.update_time, "update_time")?,
        request_id: record.request_id,
        format: record.format,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
    })
}

/// Writes the settings of a namespace.
pub fn encode_namespace(settings: &NamespaceSettings) -> Bytes {
    encode(&wire::Namespace {
        format: FORMAT,
        description: settings.description.clone(),
        labels: settings.labels.clone(),
        max_instances: settings.quotas.instances,
        max_services: settings.quotas.services,
        max_sessions: settings.quotas.sessions,
        author: settings.author.to_string(),
        update_time: Some(settings.update_time.into()),
        request_id: settings.request_id.clone(),
    })
}

fn service_key(name: wire::ServiceName) -> Result<ServiceKey, DecodeError> {
    let damaged = |_| DecodeError::Field("alias_of");
    Ok(ServiceKey {
        namespace: Namespace::parse(&name.namespace).map_err(damaged)?,
        service: ServiceName::parse(&name.service).map_err(damaged)?,
    })
}

fn export(namespaces: &[String]) -> Result<Export, DecodeError> {
    if namespaces.iter().any(|name| name == EVERY_NAMESPACE) {
        return Ok(Export::ToAll);
    }
    let parsed = namespaces.iter().map(|name| Namespace::parse(name));
    let namespaces = parsed.collect::<Result<_, _>>();
    Ok(Export::To(
        namespaces.map_err(|_| DecodeError::Field("exported_to"))?,
    ))
}
