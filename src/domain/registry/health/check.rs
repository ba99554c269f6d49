//! What is checked of an instance, and how often.

use std::{collections::BTreeMap, time::Duration};

use crate::domain::registry::InstanceSpec;

/// A check of the health of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// Its name, unique in the instance.
    pub name: String,
    /// What is asked.
    pub kind: CheckKind,
    /// Time between two checks.
    pub interval: Duration,
    /// How long one check may take.
    pub timeout: Duration,
    /// Failures in a row that make the instance unhealthy.
    pub failure_threshold: u32,
    /// Successes in a row that make it healthy.
    pub success_threshold: u32,
    /// Time from the registration to the first check.
    pub initial_delay: Duration,
    /// Whether the instance is unhealthy until the check has succeeded.
    pub starts_unhealthy: bool,
}

/// What a check asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckKind {
    /// Whether a connection is accepted.
    Tcp {
        /// Where.
        port: CheckPort,
    },
    /// What a GET is answered.
    Http {
        /// Where.
        port: CheckPort,
        /// The path, with query.
        path: String,
        /// Lowest status that is a success.
        min_status: u16,
        /// Highest status that is a success.
        max_status: u16,
        /// Headers to send.
        headers: BTreeMap<String, String>,
        /// How to use TLS; `None`: not.
        tls: Option<CheckTls>,
    },
    /// What the gRPC health protocol says.
    Grpc {
        /// Where.
        port: CheckPort,
        /// Service to ask for; empty: the server as a whole.
        service: String,
        /// How to use TLS; `None`: not.
        tls: Option<CheckTls>,
    },
}

/// The port a check goes to: name or number; empty: the first one of the instance.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckPort(pub String);

/// How a check uses TLS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckTls {
    /// The name the certificate must have; empty: the address.
    pub server_name: String,
    /// Whether any certificate will do.
    pub skip_verify: bool,
}

// === impl HealthCheck ===

impl HealthCheck {
    /// What a verdict of this check is about: another one if it asks something else, or elsewhere.
    /// Interval and thresholds are not part of it.
    pub fn target(&self, spec: &InstanceSpec) -> u64 {
        let port = self.kind.port().of(spec).unwrap_or_default();
        let mut text = format!("{} {} {port}", self.name, spec.address);
        match &self.kind {
            CheckKind::Tcp { .. } => text.push_str(" tcp"),
            CheckKind::Http {
                path,
                min_status,
                max_status,
                headers,
                tls,
                ..
            } => {
                text.push_str(&format!(
                    " http {path} {min_status} {max_status} {headers:?} {tls:?}"
                ));
            }
            CheckKind::Grpc { service, tls, .. } => {
                text.push_str(&format!(" grpc {service} {tls:?}"));
            }
        }
        crate::domain::hash64(text)
    }
}

// === impl CheckKind ===

impl CheckKind {
    /// Where it asks.
    pub fn port(&self) -> &CheckPort {
        match self {
            Self::Tcp { port } | Self::Http { port, .. } | Self::Grpc { port, .. } => port,
        }
    }
}

// === impl CheckPort ===

impl CheckPort {
    /// The number of the port that is meant, if the instance has it.
    pub fn of(&self, spec: &InstanceSpec) -> Option<u16> {
        if self.0.is_empty() {
            return spec.ports.first().map(|port| port.port);
        }
        let named = spec.ports.iter().find(|port| port.name == self.0);
        named
            .map(|port| port.port)
            .or_else(|| self.0.parse().ok().filter(|port| *port > 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::registry::Port;

    #[test]
    fn a_port_is_found_by_name_by_number_or_as_the_first() {
        let port = |name: &str, port| Port {
            name: name.into(),
            port,
            protocol: String::new(),
        };
        let spec = InstanceSpec {
            ports: vec![port("http", 8080), port("admin", 9090)],
            ..InstanceSpec::default()
        };
        let of = |text: &str| CheckPort(text.into()).of(&spec);
        assert_eq!(of(""), Some(8080));
        assert_eq!(of("admin"), Some(9090));
        assert_eq!(of("7000"), Some(7000));
        assert_eq!((of("grpc"), of("0"), of("70000")), (None, None, None));
        assert_eq!(CheckPort::default().of(&InstanceSpec::default()), None);
    }
}
