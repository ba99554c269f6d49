//! `/sd/prometheus`: instances as targets to scrape, for the HTTP service discovery of Prometheus.

use std::collections::BTreeMap;

use axum::{
    extract::{RawQuery, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use percent_encoding::percent_decode_str;
use serde_json::json;

use crate::domain::{
    names::{Namespace, ServiceName},
    registry::{Filter, Instance, InstanceView, Instances, Port},
    state,
    watch::Selection as _,
};

use super::Operations;

/// What every label begins with: Prometheus drops it after relabelling.
const LABEL: &str = "__meta_stanchion_";

/// What is asked for.
struct Question {
    instances: Instances,
    port: Ports,
}

/// Which ports of an instance are scraped.
#[derive(Debug, PartialEq, Eq)]
enum Ports {
    /// All that it registered.
    All,
    /// Those that it registered under this name.
    Named(String),
    /// This one, registered or not.
    Number(u16),
}

/// Answers what Prometheus refreshes its targets from. It keeps those it has while the answer is
/// no success.
pub(super) async fn targets(
    State(operations): State<Operations>,
    RawQuery(query): RawQuery,
) -> Response {
    let question = match Question::parse(query.as_deref().unwrap_or_default()) {
        Ok(question) => question,
        Err(problem) => return (StatusCode::BAD_REQUEST, problem + "\n").into_response(),
    };
    let Ok(view) = operations.core.cache.view() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "reading the store\n").into_response();
    };
    // Thousands of instances take longer than others on this thread should wait.
    match tokio::task::spawn_blocking(move || question.answer(&view.state)).await {
        Ok(targets) => ([(CONTENT_TYPE, "application/json")], targets).into_response(),
        Err(error) => {
            tracing::error!(%error, "targets could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

// === impl Question ===

impl Question {
    /// Parses a query. What is not known is refused: it is a mistake that would otherwise show
    /// only in what is not scraped.
    fn parse(query: &str) -> Result<Self, String> {
        let mut given = BTreeMap::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let value = value.replace('+', " ");
            let value = percent_decode_str(&value)
                .decode_utf8()
                .map_err(|_| format!("{name}: is not UTF-8"))?;
            if given.insert(name, value.into_owned()).is_some() {
                return Err(format!("{name}: is there twice"));
            }
        }
        let mut take = |name| given.remove(name).filter(|value| !value.is_empty());
        let namespace = take("namespace").unwrap_or_default();
        let namespace = Namespace::parse_or_default(&namespace)
            .map_err(|error| format!("namespace: {error}"))?;
        let view = match take("view").as_deref() {
            // What is to be watched over is not least what does not serve.
            None | Some("all") => InstanceView::All,
            Some("serving") => InstanceView::Serving,
            Some(_) => return Err("view: must be `all` or `serving`".into()),
        };
        let instances = match take("service") {
            None => Instances::of_namespace(&namespace, view),
            Some(service) => {
                let service =
                    ServiceName::parse(&service).map_err(|error| format!("service: {error}"))?;
                Instances::of(&namespace, &service, view)
            }
        };
        let filter = take("filter").map(|text| Filter::parse(&text)).transpose();
        let filter = filter.map_err(|error| format!("filter: {error}"))?;
        let port = match take("port") {
            None => Ports::All,
            Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => match text.parse() {
                Ok(number @ 1..) => Ports::Number(number),
                _ => return Err("port: must be a name, or from 1 to 65535".into()),
            },
            Some(name) => Ports::Named(name),
        };
        match given.keys().next() {
            None => Ok(Self {
                instances: instances.filtered(filter),
                port,
            }),
            Some(unknown) => Err(format!(
                "{unknown}: is none of namespace, service, port, view and filter"
            )),
        }
    }

    /// Writes the targets, in the order of the instances.
    fn answer(&self, state: &state::State) -> String {
        let instances = self.instances.clone().routed(state);
        let shown = instances.list(state, None);
        let shown = shown.filter_map(|(_, item)| instances.select(&item));
        let targets = shown.flat_map(|instance| self.port.targets(&instance));
        let targets: Vec<_> = targets.collect();
        format!("[{}]", targets.join(",\n"))
    }
}

// === impl Ports ===

impl Ports {
    fn targets(&self, instance: &Instance) -> Vec<String> {
        let registered = &instance.spec().ports;
        match self {
            Self::All => registered.iter().map(|p| target(instance, p)).collect(),
            Self::Named(name) => {
                let named = registered.iter().filter(|port| port.name == *name);
                named.map(|port| target(instance, port)).collect()
            }
            Self::Number(number) => {
                let port = registered.iter().find(|port| port.port == *number);
                let port = port.cloned().unwrap_or_else(|| Port {
                    name: String::new(),
                    port: *number,
                    protocol: String::new(),
                });
                vec![target(instance, &port)]
            }
        }
    }
}

fn target(instance: &Instance, port: &Port) -> String {
    let (record, spec) = (&instance.record, instance.spec());
    let number = port.port.to_string();
    let mut labels: BTreeMap<String, &str> = [
        ("namespace", record.key.namespace.as_str()),
        ("service", record.key.service.as_str()),
        ("instance_id", record.key.id.as_str()),
        ("address", &spec.address),
        ("port", &number),
        ("port_name", &port.name),
        ("port_protocol", &port.protocol),
        ("version", &spec.version),
        ("region", &spec.region),
        ("zone", &spec.zone),
        ("health", instance.health.name()),
        ("state", instance.operator.name()),
        ("serving", if instance.serving { "true" } else { "false" }),
        ("client_id", record.client_id.as_str()),
    ]
    .map(|(name, value)| (format!("{LABEL}{name}"), value))
    .into();
    for (key, value) in &spec.metadata {
        let legal = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let name: String = key.chars().map(legal).collect();
        // Of keys that become one label, the first in order.
        labels
            .entry(format!("{LABEL}metadata_{name}"))
            .or_insert(value);
    }
    let host = match spec.address.contains(':') {
        true => format!("[{}]", spec.address),
        false => spec.address.clone(),
    };
    json!({"targets": [format!("{host}:{number}")], "labels": labels}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded_and_what_is_wrong_with_it_said() {
        let port = |query: &str| Question::parse(query).map(|question| question.port);
        assert_eq!(port(""), Ok(Ports::All));
        assert_eq!(port("&port=&view=all&"), Ok(Ports::All));
        assert_eq!(port("port=9100&service=web"), Ok(Ports::Number(9100)));
        assert_eq!(port("port=a%20b+c"), Ok(Ports::Named("a b c".into())));
        port("filter=zone+%3D%3D+a&view=serving&namespace=x").unwrap();
        for (query, problem) in [
            ("namespace=a/b", "namespace: must consist of"),
            ("service=%20", "service: must consist of"),
            ("port=0", "port: must be a name, or from 1"),
            ("port=65536", "port: must be a name, or from 1"),
            ("view=some", "view: must be"),
            ("filter=zone", "filter: at byte 4: expected"),
            ("port=%ff", "port: is not UTF-8"),
            ("port=a&port=b", "port: is there twice"),
            ("sevice=web", "sevice: is none of"),
        ] {
            let said = port(query).unwrap_err();
            assert!(said.starts_with(problem), "{query}: {said}");
        }
    }
}
