//! What can be watched and is checked, and how an item of it looks.

mod looks;

pub use self::looks::*;

/// One selection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum View {
    /// The configs of a namespace whose keys begin with `prefix`.
    Configs { namespace: String, prefix: String },
    /// The instances of a service: all, or those of the serving view.
    ///
    /// What was set for a service, overlays, checks and damping are not modelled: where something
    /// is checked, there are none.
    Instances {
        namespace: String,
        service: String,
        serving: bool,
    },
    /// The services of a namespace whose names begin with `prefix`.
    Services { namespace: String, prefix: String },
    /// The claims on a lock.
    Lock { namespace: String, lock: String },
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

    /// The services of the default namespace whose names begin with `prefix`.
    pub fn services(prefix: &str) -> Self {
        Self::Services {
            namespace: "default".into(),
            prefix: prefix.into(),
        }
    }

    /// The claims on a lock of the default namespace.
    pub fn lock(lock: &str) -> Self {
        Self::Lock {
            namespace: "default".into(),
            lock: lock.into(),
        }
    }

    /// What every path of the selection begins with.
    pub fn prefix(&self) -> String {
        match self {
            Self::Configs { namespace, prefix } | Self::Services { namespace, prefix } => {
                format!("{namespace}/{prefix}")
            }
            Self::Lock { namespace, lock } => format!("{namespace}/{lock}/"),
            Self::Instances {
                namespace, service, ..
            } => format!("{namespace}/{service}/"),
        }
    }
}
