//! The stored form of what checks and reports found.

use bytes::Bytes;

use crate::{
    domain::registry::{Damping, Finding, Findings, Registration, Source},
    proto::store as wire,
    store::KeyValue,
};

use super::{DecodeError, FORMAT, decode, encode, optional_time, session_id, time};

/// Reads what was found.
pub fn findings(kv: &KeyValue) -> Result<Findings, DecodeError> {
    let record: wire::Health = decode(kv)?;
    let known = |finding: &wire::Finding| {
        // What is of the future is kept in the store, and says nothing here.
        finding.source() != wire::FindingSource::Unspecified
            && finding.state() != wire::HealthState::Unspecified
    };
    Ok(Findings {
        registration: registration(record.registration)?,
        findings: record
            .findings
            .into_iter()
            .filter(known)
            .map(finding)
            .collect::<Result<_, _>>()?,
        damping: record.damping.map(damping).transpose()?,
        recovered: optional_time(record.recover_time, "recover_time")?,
        format: record.format,
        mod_revision: kv.mod_revision,
    })
}

/// Writes what was found.
pub fn encode_findings(findings: &Findings) -> Bytes {
    let damping = |damping: Damping| wire::Damping {
        penalty: damping.penalty,
        update_time: Some(damping.updated.into()),
        held_until: damping.held_until.map(Into::into),
    };
    encode(&wire::Health {
        format: FORMAT,
        registration: Some(wire_registration(&findings.registration)),
        findings: findings.findings.iter().map(wire_finding).collect(),
        damping: findings.damping.map(damping),
        recover_time: findings.recovered.map(Into::into),
    })
}

/// Reads which registration is meant.
pub(super) fn registration(
    registration: Option<wire::Registration>,
) -> Result<Registration, DecodeError> {
    let registration = registration.ok_or(DecodeError::Field("registration"))?;
    Ok(Registration {
        create_revision: registration.create_revision,
        session: match registration.session_id.as_str() {
            "" => None,
            text => Some(session_id(text)?),
        },
    })
}

/// Writes which registration is meant.
pub(super) fn wire_registration(registration: &Registration) -> wire::Registration {
    wire::Registration {
        create_revision: registration.create_revision,
        session_id: registration
            .session
            .map(|id| id.to_text())
            .unwrap_or_default(),
    }
}

fn finding(finding: wire::Finding) -> Result<Finding, DecodeError> {
    let passing = finding.state() == wire::HealthState::Healthy;
    let source = match finding.source() {
        wire::FindingSource::Check => Source::Check {
            name: finding.name,
            target: finding.target,
        },
        wire::FindingSource::Report | wire::FindingSource::Unspecified => {
            Source::Report { by: finding.name }
        }
    };
    Ok(Finding {
        source,
        passing,
        detail: finding.detail,
        since: time(finding.since, "since")?,
        expires: optional_time(finding.expire_time, "expire_time")?,
    })
}

fn wire_finding(finding: &Finding) -> wire::Finding {
    let (source, name, target) = match &finding.source {
        Source::Check { name, target } => (wire::FindingSource::Check, name, *target),
        Source::Report { by } => (wire::FindingSource::Report, by, 0),
    };
    let state = match finding.passing {
        true => wire::HealthState::Healthy,
        false => wire::HealthState::Unhealthy,
    };
    wire::Finding {
        source: source.into(),
        name: name.clone(),
        state: state.into(),
        detail: finding.detail.clone(),
        since: Some(finding.since.into()),
        expire_time: finding.expires.map(Into::into),
        target,
    }
}

fn damping(damping: wire::Damping) -> Result<Damping, DecodeError> {
    Ok(Damping {
        penalty: damping.penalty,
        updated: time(damping.update_time, "update_time")?,
        held_until: optional_time(damping.held_until, "held_until")?,
    })
}
