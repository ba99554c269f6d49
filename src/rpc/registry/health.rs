//! Reports of health, and what was found, to and from the wire.

use std::time::{Duration, SystemTime};

use stanchion_client::proto::{
    self, FlapDamping, HealthFinding, ReportHealthRequest, health_finding::Source as WireSource,
};
use tonic::Status;

use crate::{
    domain::{
        names::{Label, NameError},
        registry::{Finding, Findings, HealthCheck, Instance, Note, Observation, Source},
    },
    rpc::convert::Violations,
};

use super::decode;

/// The longest reason, in bytes.
const MAX_REASON: usize = 256;
const MIN_TTL: Duration = Duration::from_secs(1);
const MAX_TTL: Duration = Duration::from_secs(3600);

/// Reads a report.
pub(super) fn report_request(request: ReportHealthRequest) -> Result<Note, Status> {
    let mut v = Violations::new();
    let key = decode::key(
        &mut v,
        ("", &request.namespace),
        &request.service,
        &request.instance_id,
    );
    let session = decode::session(&mut v, &request.session_id);
    let by = v.label("reporter", &request.reporter);
    match &session {
        Some(_) if !by.is_empty() => v.add("reporter", "must be empty with session_id"),
        None if by.is_empty() => v.add("reporter", NameError::Empty),
        _ => {}
    }
    let passing = match proto::Health::try_from(request.health) {
        Ok(proto::Health::Healthy) => true,
        Ok(proto::Health::Unhealthy) => false,
        _ => {
            v.add("health", "must be HEALTH_HEALTHY or HEALTH_UNHEALTHY");
            false
        }
    };
    let ttl = v.duration("ttl", request.ttl);
    match ttl {
        None if session.is_none() => v.add("ttl", "must say how long the report counts"),
        Some(ttl) if !(MIN_TTL..=MAX_TTL).contains(&ttl) => {
            v.add("ttl", "must be from 1 s to 1 h");
        }
        _ => {}
    }
    if request.reason.chars().any(char::is_control) {
        v.add("reason", "must not have control characters");
    }
    let guard = v.guard(request.guard, &request.namespace);
    let observation = Observation {
        source: Source::Report {
            by: Label::to_string(&by),
        },
        passing,
        detail: v.text("reason", request.reason, MAX_REASON),
        ttl,
    };
    Ok(Note {
        key: v.give(key)?,
        registration: None,
        session,
        observation,
        guard,
    })
}

/// Writes what was found about an instance that is checked by `checks`.
pub(super) fn wire_findings(
    findings: Option<&Findings>,
    instance: &Instance,
    checks: &[HealthCheck],
    now: SystemTime,
) -> (Vec<HealthFinding>, Option<FlapDamping>) {
    let Some(findings) = findings else {
        return (Vec::new(), None);
    };
    let damping = findings.damping.map(|damping| FlapDamping {
        penalty: i32::try_from(damping.penalty_at(now)).unwrap_or(i32::MAX),
        held_until: damping.held_until.map(Into::into),
    });
    let about = findings.about(&instance.record, checks);
    (about.map(wire_finding).collect(), damping)
}

fn wire_finding(finding: &Finding) -> HealthFinding {
    let health = match finding.passing {
        true => proto::Health::Healthy,
        false => proto::Health::Unhealthy,
    };
    HealthFinding {
        source: Some(match &finding.source {
            Source::Check { name, .. } => WireSource::Check(name.clone()),
            Source::Report { by } => WireSource::Reporter(by.clone()),
        }),
        health: health.into(),
        detail: finding.detail.clone(),
        since: Some(finding.since.into()),
        expire_time: finding.expires.map(Into::into),
    }
}
