//! How an item looks: said of stored records and of a message of the API in the same words, by code
//! that shares nothing with the server's.

use sha2::{Digest as _, Sha256};
use stanchion::proto::store;
use stanchion_client::proto;

use super::Look;

/// How far the era of a claim stands above its revision in its token.
const ERA_SHIFT: u32 = 40;

/// The path and the look of a config that was shown.
pub fn config_shown(config: &proto::Config) -> (String, Look) {
    let path = format!("{}/{}", config.namespace, config.key);
    let content = digest(&config.content).into();
    let config = proto::Config {
        content,
        ..config.clone()
    };
    (path, format!("{config:?}"))
}

/// The look that a stored config must have; `None` if it is deleted.
pub fn config_stored(path: &str, head: store::ConfigHead, revision: i64) -> Option<Look> {
    let (namespace, key) = path.split_once('/')?;
    let config = proto::Config {
        namespace: namespace.into(),
        key: key.into(),
        version: head.version,
        content: digest(&head.content).into(),
        content_type: head.content_type,
        labels: head.labels,
        description: head.description,
        sha256: hex(&head.sha256),
        size_bytes: i64::try_from(head.content.len()).unwrap(),
        author: head.author,
        comment: head.comment,
        create_time: head.create_time,
        operation: head.operation,
        rollback_of: head.rollback_of,
        revision,
        release: head.release,
    };
    (!head.deleted).then(|| format!("{config:?}"))
}

/// The path and the look of an instance that was shown.
pub fn instance_shown(instance: &proto::Instance) -> (String, Look) {
    let proto::Instance {
        namespace,
        service,
        instance_id,
        ..
    } = instance;
    let path = format!("{namespace}/{service}/{instance_id}");
    (path, format!("{instance:?}"))
}

/// The look that a stored instance must have, given what else is known of it.
pub fn instance_stored(
    path: &str,
    record: &store::Instance,
    revision: i64,
    (operator_state, health, serving): (proto::OperatorState, proto::Health, bool),
) -> Look {
    let mut names = path.split('/').map(str::to_owned);
    let port = |port: &store::Port| proto::Port {
        name: port.name.clone(),
        port: port.port,
        protocol: port.protocol.clone(),
    };
    let instance = proto::Instance {
        namespace: names.next().unwrap_or_default(),
        service: names.next().unwrap_or_default(),
        instance_id: names.next().unwrap_or_default(),
        address: record.address.clone(),
        ports: record.ports.iter().map(port).collect(),
        weight: Some(record.weight),
        version: record.version.clone(),
        region: record.region.clone(),
        zone: record.zone.clone(),
        metadata: record.metadata.clone(),
        operator_state: operator_state.into(),
        health: health.into(),
        persistent: record.session_id.is_empty(),
        client_id: record.client_id.clone(),
        register_time: record.register_time,
        revision,
        serving,
        ..proto::Instance::default()
    };
    format!("{instance:?}")
}

/// The path and the look of a service that was shown.
///
/// Its revision is left out: a replica that started since may say a later one.
pub fn service_shown(service: &proto::Service) -> (String, Look) {
    let path = format!("{}/{}", service.namespace, service.service);
    let service = proto::Service {
        revision: 0,
        ..service.clone()
    };
    (path, format!("{service:?}"))
}

/// The look that a service must have with these numbers, whatever its names and revision.
pub fn service_counted(path: &str, counted: proto::Service) -> Look {
    let (namespace, service) = path.split_once('/').unwrap_or_default();
    let service = proto::Service {
        namespace: namespace.into(),
        service: service.into(),
        revision: 0,
        ..counted
    };
    format!("{service:?}")
}

/// The path and the look of a claim on the lock of which every path begins with `prefix`.
///
/// Its revision is left out, as that of a service is.
pub fn claim_shown(prefix: &str, claim: &proto::LockClaim) -> (String, Look) {
    let claim = proto::LockClaim {
        revision: 0,
        ..claim.clone()
    };
    let path = claim_path(prefix, claim.fencing_token);
    (path, format!("{claim:?}"))
}

/// The path and the look of a claim that was made at `create_revision`.
pub fn claim_stored(
    prefix: &str,
    waiter: &store::LockWaiter,
    create_revision: i64,
    held: bool,
) -> (String, Look) {
    let claim = proto::LockClaim {
        fencing_token: (waiter.era << ERA_SHIFT) + create_revision,
        owner: waiter.owner.clone(),
        client_id: waiter.client_id.clone(),
        mode: proto::LockMode::Exclusive.into(),
        held,
        position: 0,
        create_time: waiter.create_time,
        metadata: waiter.metadata.clone(),
        revision: 0,
        permits: None,
        holds: 1,
        address: waiter.address.clone(),
        hold_time: None,
        yield_request: waiter.r#yield.as_ref().map(|asked| proto::YieldRequest {
            actor: asked.actor.clone(),
            comment: asked.comment.clone(),
            request_time: asked.request_time,
        }),
        lock_delay: waiter.lock_delay,
    };
    let path = claim_path(prefix, claim.fencing_token);
    (path, format!("{claim:?}"))
}

/// Sorts as the tokens do.
fn claim_path(prefix: &str, token: i64) -> String {
    format!("{prefix}{token:016x}")
}

/// What a content is, short enough for a message of the checker.
fn digest(content: &[u8]) -> String {
    hex(&Sha256::digest(content)[..8])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
