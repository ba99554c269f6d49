//! The registry's answers, for the wire.

use std::{sync::Arc, time::SystemTime};

use stanchion_client::proto::{self, ErrorStatus};

use crate::{
    domain::{
        Error,
        keyspace::ServiceKey,
        registry::{
            Health, Instance, Operator, OperatorState, Port, RemovalCause, Service, Tier, Tombstone,
        },
    },
    rpc::{
        convert::{wire_count, wire_duration},
        status,
    },
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
        slow_start: instance.slow_start.map(|slow| proto::SlowStart {
            start_time: Some(slow.start.into()),
            window: Some(wire_duration(slow.window)),
        }),
        ..proto::Instance::default()
    }
}

/// Writes an instance with the share of the load it should get at `now`.
pub(super) fn wire_instance_at(instance: &Arc<Instance>, now: SystemTime) -> proto::Instance {
    let mut wire = wire_instance(instance);
    let weight = wire.weight_at(now);
    wire.effective_weight = (wire.weight != Some(weight)).then_some(weight);
    wire
}

/// Writes why an instance was removed.
pub(super) fn wire_removal(tombstone: &Tombstone) -> proto::Removal {
    let cause = match tombstone.cause {
        RemovalCause::Expired => proto::RemovalCause::Expired,
        RemovalCause::Unhealthy => proto::RemovalCause::Unhealthy,
        RemovalCause::Drained => proto::RemovalCause::Drained,
    };
    proto::Removal {
        cause: cause.into(),
        detail: tombstone.detail.clone(),
        remove_time: Some(tombstone.remove_time.into()),
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

/// Writes the name of a service.
pub(in crate::rpc) fn wire_service_name(key: &ServiceKey) -> proto::ServiceName {
    proto::ServiceName {
        namespace: key.namespace.to_string(),
        service: key.service.to_string(),
    }
}

/// Writes what operators decided about an instance.
pub(in crate::rpc) fn wire_decision(operator: &Operator) -> proto::InstanceDecision {
    let state = match (operator.isolated, &operator.drain) {
        (true, _) => proto::OperatorState::Isolated,
        (false, Some(_)) => proto::OperatorState::Draining,
        (false, None) => proto::OperatorState::Active,
    };
    let active = state == proto::OperatorState::Active;
    // Of an active one there may be what was said when it was last brought back.
    let of_state = |text: String| if active { String::new() } else { text };
    let overlay = &operator.overlay;
    let weight = |weight: u32| i32::try_from(weight).unwrap_or(i32::MAX);
    proto::InstanceDecision {
        operator_state: state.into(),
        author: of_state(operator.author.to_string()),
        comment: of_state(operator.comment.clone()),
        update_time: (!active).then(|| operator.update_time.into()),
        overlay: (!overlay.is_empty()).then(|| proto::InstanceOverlay {
            weight: overlay.weight.map(weight),
            metadata: overlay.metadata.clone(),
            hidden_metadata: overlay.hidden.iter().cloned().collect(),
            author: overlay.author.to_string(),
            comment: overlay.comment.clone(),
            update_time: overlay.update_time.map(Into::into),
        }),
        revision: operator.mod_revision,
    }
}

/// Writes a service.
pub(in crate::rpc) fn wire_service(service: &Arc<Service>) -> proto::Service {
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
