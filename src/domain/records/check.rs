//! The stored form of health checks.

use crate::{
    domain::registry::{CheckKind, CheckPort, CheckTls, HealthCheck},
    proto::store::{self as wire, health_check::Kind},
};

use super::{DecodeError, duration, wire_duration};

/// Reads checks.
pub(super) fn checks(checks: Vec<wire::HealthCheck>) -> Result<Vec<HealthCheck>, DecodeError> {
    checks.into_iter().map(check).collect()
}

/// Writes checks.
pub(super) fn wire_checks(checks: &[HealthCheck]) -> Vec<wire::HealthCheck> {
    checks.iter().map(wire_check).collect()
}

fn check(check: wire::HealthCheck) -> Result<HealthCheck, DecodeError> {
    let kind = match check.kind.ok_or(DecodeError::Field("kind"))? {
        Kind::Tcp(tcp) => CheckKind::Tcp {
            port: CheckPort(tcp.port),
        },
        Kind::Http(http) => CheckKind::Http {
            port: CheckPort(http.port),
            path: http.path,
            min_status: status(http.min_status)?,
            max_status: status(http.max_status)?,
            headers: http.headers,
            tls: http.tls.map(tls),
        },
        Kind::Grpc(grpc) => CheckKind::Grpc {
            port: CheckPort(grpc.port),
            service: grpc.service,
            tls: grpc.tls.map(tls),
        },
    };
    Ok(HealthCheck {
        name: check.name,
        kind,
        interval: duration(check.interval, "interval")?,
        timeout: duration(check.timeout, "timeout")?,
        failure_threshold: check.failure_threshold,
        success_threshold: check.success_threshold,
        initial_delay: match check.initial_delay {
            None => std::time::Duration::ZERO,
            delay => duration(delay, "initial_delay")?,
        },
        starts_unhealthy: check.starts_unhealthy,
    })
}

fn wire_check(check: &HealthCheck) -> wire::HealthCheck {
    let kind = match check.kind.clone() {
        CheckKind::Tcp { port } => Kind::Tcp(wire::TcpCheck { port: port.0 }),
        CheckKind::Http {
            port,
            path,
            min_status,
            max_status,
            headers,
            tls,
        } => Kind::Http(wire::HttpCheck {
            port: port.0,
            path,
            min_status: min_status.into(),
            max_status: max_status.into(),
            headers,
            tls: tls.map(wire_tls),
        }),
        CheckKind::Grpc { port, service, tls } => Kind::Grpc(wire::GrpcCheck {
            port: port.0,
            service,
            tls: tls.map(wire_tls),
        }),
    };
    wire::HealthCheck {
        name: check.name.clone(),
        kind: Some(kind),
        interval: Some(wire_duration(check.interval)),
        timeout: Some(wire_duration(check.timeout)),
        failure_threshold: check.failure_threshold,
        success_threshold: check.success_threshold,
        initial_delay: (!check.initial_delay.is_zero()).then(|| wire_duration(check.initial_delay)),
        starts_unhealthy: check.starts_unhealthy,
    }
}

fn status(status: u32) -> Result<u16, DecodeError> {
    u16::try_from(status).map_err(|_| DecodeError::Field("status"))
}

fn tls(tls: wire::CheckTls) -> CheckTls {
    CheckTls {
        server_name: tls.server_name,
        skip_verify: tls.skip_verify,
    }
}

fn wire_tls(tls: CheckTls) -> wire::CheckTls {
    wire::CheckTls {
        server_name: tls.server_name,
        skip_verify: tls.skip_verify,
    }
}
