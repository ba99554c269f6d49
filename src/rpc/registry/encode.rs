//! The registry's answers, for the wire.

use std::sync::Arc;

use stanchion_client::proto::{self, ErrorStatus};

use crate::{
    domain::{
        Error,
        registry::{Health, Instance, OperatorState, Port, Service, Tier},
    },
    rpc::{convert::wire_count, status},
};

use super::checks::wire_checks;

/// Writes an instance.
pub(super) fn wire_instance(instance: &Arc<Instance>) -> proto::Instance {
    let record = &instance.record;
    let spec = instance.spec();
    let operator_state = match instance.operator {
        OperatorState::Active => proto::OperatorState::Active,
        OperatorState::Draining => proto::OperatorState::Draining,
        OperatorState::Isolated => proto::OperatorState::Isolated,
    };
    let health = match instance.health {
        Health::Healthy => proto::Health::Healthy,
        Health::Unhealthy => proto::Health::Unhealthy,
        Health::Suspect => proto::Health::Suspect,
        Health::Unknown => proto::Health::Unknown,
    };
    let port = |port: &Port| proto::Port {
        name: port.name.clone(),
        port: port.port.into(),
        protocol: port.protocol.clone(),
    };
    proto::Instance {
        namespace: record.key.namespace.to_string(),
        service: record.key.service.to_string(),
        instance_id: record.key.id.to_string(),
        address: spec.address.clone(),
        ports: spec.ports.iter().map(port).collect(),
        weight: Some(i32::try_from(spec.weight).unwrap_or(i32::MAX)),
        version: spec.version.clone(),
        region: spec.region.clone(),
        zone: spec.zone.clone(),
        metadata: spec.metadata.clone(),
        operator_state: operator_state.into(),
        health: health.into(),
        persistent: record.session.is_none(),
        client_id: record.client_id.to_string(),
        register_time: Some(record.register_time.into()),
        revision: record.mod_revision,
        serving: instance.serving,
        checks: wire_checks(&spec.checks),
        locality_tier: proto::LocalityTier::Unspecified.into(),
    }
}

/// Writes how near an instance is.
pub(super) fn wire_tier(tier: Tier) -> proto::LocalityTier {
    match tier {
        Tier::Zone => proto::LocalityTier::Zone,
        Tier::Region => proto::LocalityTier::Region,
        Tier::Elsewhere => proto::LocalityTier::Elsewhere,
    }
}

/// Writes a service.
pub(super) fn wire_service(service: &Arc<Service>) -> proto::Service {
    let (namespace, name) = service.names();
    proto::Service {
        namespace: namespace.to_owned(),
        service: name.to_owned(),
        instance_count: wire_count(service.counts.instances),
        serving_count: wire_count(service.counts.serving),
        protected: service.protected,
        revision: service.visible_revision,
        suspect_count: wire_count(service.counts.suspect),
        unhealthy_count: wire_count(service.counts.unhealthy),
        braked: service.braked,
    }
}

/// Writes the failure of one element of a batch.
pub(super) fn wire_error(error: &Error) -> ErrorStatus {
    let (code, reason, metadata) = status::reason(error);
    ErrorStatus {
        code: code.into(),
        reason: reason.into(),
        message: error.to_string(),
        metadata: metadata
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
    }
}
