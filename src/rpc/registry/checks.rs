//! Health checks, to and from the wire.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use http::{HeaderName, HeaderValue, uri::PathAndQuery};
use stanchion_client::proto::{self, health_check::Kind};

use crate::{
    domain::registry::{CheckKind, CheckPort, CheckTls, HealthCheck, InstanceSpec},
    rpc::convert::{Violations, wire_duration},
};

use super::fields::word;

/// The most checks of an instance.
const MAX_CHECKS: usize = 8;
const MIN_INTERVAL: Duration = Duration::from_secs(1);
const MAX_INTERVAL: Duration = Duration::from_secs(3600);
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
const MIN_TIMEOUT: Duration = Duration::from_millis(10);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);
const MAX_THRESHOLD: u32 = 100;
const DEFAULT_FAILURES: u32 = 3;
const DEFAULT_SUCCESSES: u32 = 2;
/// The longest path, in bytes.
const MAX_PATH: usize = 1024;
/// The most headers.
const MAX_HEADERS: usize = 16;
/// The most bytes of headers.
const MAX_HEADER_BYTES: usize = 4 * 1024;
/// The longest service or server name, in bytes.
const MAX_NAME: usize = 253;
/// Headers that are about the connection, which is ours.
const RESERVED: [&str; 9] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Reads the checks of the field `checks`. Their ports must be those of `spec`, if it is known.
pub(in crate::rpc) fn checks(
    v: &mut Violations,
    checks: Vec<proto::HealthCheck>,
    spec: Option<&InstanceSpec>,
) -> Vec<HealthCheck> {
    if checks.len() > MAX_CHECKS {
        v.add(
            "checks",
            format!("must be at most {MAX_CHECKS}, are {}", checks.len()),
        );
    }
    let mut names = BTreeSet::new();
    let mut parsed = Vec::new();
    for (index, wire) in checks.into_iter().take(MAX_CHECKS).enumerate() {
        let check = v.within(format_args!("checks[{index}]."), |v| {
            let check = check(v, wire)?;
            if !names.insert(check.name.clone()) {
                v.add("name", "must be distinct within the instance");
            }
            if spec.is_some_and(|spec| check.kind.port().of(spec).is_none()) {
                let kind = kind_name(&check.kind);
                v.add(format!("{kind}.port"), "is no port of the instance");
            }
            Some(check)
        });
        parsed.extend(check);
    }
    parsed
}

fn check(v: &mut Violations, check: proto::HealthCheck) -> Option<HealthCheck> {
    let interval = v.duration("interval", check.interval);
    let interval = interval.unwrap_or(DEFAULT_INTERVAL);
    if !(MIN_INTERVAL..=MAX_INTERVAL).contains(&interval) {
        v.add("interval", "must be from 1 s to 1 h");
    }
    let timeout = v.duration("timeout", check.timeout);
    let timeout = timeout.unwrap_or_else(|| DEFAULT_TIMEOUT.min(interval));
    if timeout < MIN_TIMEOUT || timeout > interval {
        v.add("timeout", "must be from 10 ms to the interval");
    }
    let delay = v.duration("initial_delay", check.initial_delay);
    let initial_delay = delay.unwrap_or_default();
    if initial_delay > MAX_INTERVAL {
        v.add("initial_delay", "must be at most 1 h");
    }
    let failures = threshold(v, "failure_threshold", check.failure_threshold);
    let successes = threshold(v, "success_threshold", check.success_threshold);
    let Some(kind) = check.kind else {
        v.add("kind", "must say what is asked: tcp, http or grpc");
        return None;
    };
    let kind = match kind {
        Kind::Tcp(tcp) => CheckKind::Tcp {
            port: CheckPort(tcp.port),
        },
        Kind::Http(http) => v.within("http.", |v| http_kind(v, http)),
        Kind::Grpc(grpc) => CheckKind::Grpc {
            port: CheckPort(grpc.port),
            service: v.text("grpc.service", grpc.service, MAX_NAME),
            tls: v.within("grpc.tls.", |v| tls(v, grpc.tls)),
        },
    };
    let name = match check.name.as_str() {
        "" => kind_name(&kind),
        name => name,
    };
    word(v, "name", name, "._-");
    Some(HealthCheck {
        name: name.to_owned(),
        kind,
        interval,
        timeout,
        failure_threshold: failures.unwrap_or(DEFAULT_FAILURES),
        success_threshold: successes.unwrap_or(DEFAULT_SUCCESSES),
        initial_delay,
        starts_unhealthy: check.starts_unhealthy,
    })
}

fn http_kind(v: &mut Violations, http: proto::HttpCheck) -> CheckKind {
    let path = match http.path.as_str() {
        "" => "/".to_owned(),
        _ => v.text("path", http.path, MAX_PATH),
    };
    if !path.starts_with('/') || PathAndQuery::try_from(path.as_str()).is_err() {
        v.add("path", "must be a path that begins with `/`");
    }
    let status = |v: &mut Violations, field: &str, status: i32, default: u16| match status {
        0 => default,
        100..=599 => u16::try_from(status).unwrap_or(default),
        _ => {
            v.add(field, "must be from 100 to 599");
            default
        }
    };
    let min_status = status(v, "min_status", http.min_status, 200);
    let max_status = status(v, "max_status", http.max_status, min_status.max(299));
    if max_status < min_status {
        v.add("max_status", "must not be below min_status");
    }
    CheckKind::Http {
        port: CheckPort(http.port),
        path,
        min_status,
        max_status,
        headers: headers(v, "headers", http.headers),
        tls: v.within("tls.", |v| tls(v, http.tls)),
    }
}

fn headers(
    v: &mut Violations,
    field: &str,
    headers: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    for (name, value) in &headers {
        let name = name.to_ascii_lowercase();
        if HeaderName::from_bytes(name.as_bytes()).is_err() || HeaderValue::from_str(value).is_err()
        {
            v.add(field, "must be names and values of HTTP headers");
        } else if RESERVED.contains(&name.as_str()) {
            v.add(field, format!("`{name}` is about the connection"));
        }
    }
    v.metadata(field, headers, MAX_HEADERS, MAX_HEADER_BYTES)
}

fn tls(v: &mut Violations, tls: Option<proto::CheckTls>) -> Option<CheckTls> {
    let tls = tls?;
    Some(CheckTls {
        server_name: v.text("server_name", tls.server_name, MAX_NAME),
        skip_verify: tls.skip_verify,
    })
}

fn threshold(v: &mut Violations, field: &str, threshold: Option<i32>) -> Option<u32> {
    let threshold = threshold?;
    match u32::try_from(threshold) {
        Ok(threshold @ 1..=MAX_THRESHOLD) => Some(threshold),
        _ => {
            v.add(field, format!("must be from 1 to {MAX_THRESHOLD}"));
            None
        }
    }
}

fn kind_name(kind: &CheckKind) -> &'static str {
    match kind {
        CheckKind::Tcp { .. } => "tcp",
        CheckKind::Http { .. } => "http",
        CheckKind::Grpc { .. } => "grpc",
    }
}

/// Writes checks.
pub(in crate::rpc) fn wire_checks(checks: &[HealthCheck]) -> Vec<proto::HealthCheck> {
    checks.iter().map(wire_check).collect()
}

fn wire_check(check: &HealthCheck) -> proto::HealthCheck {
    let tls = |tls: CheckTls| proto::CheckTls {
        server_name: tls.server_name,
        skip_verify: tls.skip_verify,
    };
    let kind = match check.kind.clone() {
        CheckKind::Tcp { port } => Kind::Tcp(proto::TcpCheck { port: port.0 }),
        CheckKind::Http {
            port,
            path,
            min_status,
            max_status,
            headers,
            tls: terms,
        } => Kind::Http(proto::HttpCheck {
            port: port.0,
            path,
            min_status: min_status.into(),
            max_status: max_status.into(),
            headers,
            tls: terms.map(tls),
        }),
        CheckKind::Grpc {
            port,
            service,
            tls: terms,
        } => Kind::Grpc(proto::GrpcCheck {
            port: port.0,
            service,
            tls: terms.map(tls),
        }),
    };
    let number = |number: u32| Some(i32::try_from(number).unwrap_or(i32::MAX));
    proto::HealthCheck {
        name: check.name.clone(),
        kind: Some(kind),
        interval: Some(wire_duration(check.interval)),
        timeout: Some(wire_duration(check.timeout)),
        failure_threshold: number(check.failure_threshold),
        success_threshold: number(check.success_threshold),
        initial_delay: Some(wire_duration(check.initial_delay)),
        starts_unhealthy: check.starts_unhealthy,
    }
}
