//! What can be watched and is checked, and how an item of it looks: said of a stored record and of
//! a message of the API in the same words, by code that shares nothing with the server's.

use sha2::{Digest as _, Sha256};
use stanchion::proto::store;
use stanchion_client::proto;

/// One selection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum View {
    /// The configs of a namespace whose keys begin with `prefix`.
    Configs { namespace: String, prefix: String },
    /// The instances of a service: all, or those of the serving view.
    ///
    /// The rule that shows suspect instances when few are healthy (`protected`) is not modelled:
    /// no server has it yet. Once one does, a checked service keeps a third of its instances
    /// healthy.
    Instances {
        namespace: String,
        service: String,
        serving: bool,
    },
}

/// Every field of an item in words. Two items are equal when their looks are.
pub type Look = String;

// === impl View ===

impl View {
    /// The configs of the default namespace whose keys begin with `prefix`.
    pub fn configs(prefix: &str) -> Self {
        Self::Configs {
            namespace: "default".into(),
            prefix: prefix.into(),
        }
    }

    /// All instances of a service of the default namespace.
    pub fn instances(service: &str) -> Self {
        Self::Instances {
            namespace: "default".into(),
            service: service.into(),
            serving: false,
        }
    }

    /// The instances of a service of the default namespace that traffic goes to.
    pub fn serving(service: &str) -> Self {
        Self::Instances {
            namespace: "default".into(),
            service: service.into(),
            serving: true,
        }
    }

    /// What every path of the selection begins with.
    pub fn prefix(&self) -> String {
        match self {
            Self::Configs { namespace, prefix } => format!("{namespace}/{prefix}"),
            Self::Instances {
                namespace, service, ..
            } => format!("{namespace}/{service}/"),
        }
    }
}

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
    };
    format!("{instance:?}")
}

/// What a content is, short enough for a message of the checker.
fn digest(content: &[u8]) -> String {
    hex(&Sha256::digest(content)[..8])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
