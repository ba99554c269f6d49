//! How an instance is: what its session, checks and reports say, taken together.

mod check;
mod damping;
mod note;
mod observation;

use std::time::SystemTime;

use crate::{domain::session_id::SessionId, store::Revision};

use super::InstanceRecord;

pub use self::{
    check::{CheckKind, CheckPort, CheckTls, HealthCheck},
    note::{Note, Noted},
    observation::Observation,
};

/// How an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Nothing speaks against it.
    Healthy,
    /// A check or a report objects, or it is held back because its health changes too often.
    Unhealthy,
    /// Its session ended: it will be removed after the grace.
    Suspect,
    /// Persistent, or to be checked, and not checked yet.
    Unknown,
}

/// What checks and reports found of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings {
    /// The registration they are about; they say nothing of another one.
    pub registration: Registration,
    /// At most one of each source, in order of their sources.
    pub findings: Vec<Finding>,
    /// How often the health changed lately. It outlives the registration.
    pub damping: Option<Damping>,
    /// When the registration last recovered: something had objected, and nothing did any more.
    pub recovered: Option<SystemTime>,
    /// The format they were written in.
    pub format: u32,
    /// The revision that last wrote them.
    pub mod_revision: Revision,
}

/// Names one registration of an instance: another one of the same id has another name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Registration {
    /// The revision that created the record.
    pub create_revision: Revision,
    /// The session behind it.
    pub session: Option<SessionId>,
}

/// What one source found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Who found it.
    pub source: Source,
    /// Whether it works.
    pub passing: bool,
    /// What was seen, for people.
    pub detail: String,
    /// Since when it is so.
    pub since: SystemTime,
    /// When the finding ends; `None`: never. It counts until it is taken away, which some replica
    /// does then.
    pub expires: Option<SystemTime>,
}

/// Who finds something about the health of an instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A check.
    Check {
        /// Its name.
        name: String,
        /// [`HealthCheck::target`] of what was checked.
        target: u64,
    },
    /// A report.
    Report {
        /// Who reported.
        by: String,
    },
}

/// Holds back an instance whose health changes too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damping {
    /// The penalty as of `updated`; it decays from then on.
    pub penalty: u32,
    /// When it was last counted.
    pub updated: SystemTime,
    /// Until when the instance is held back. It is so until this is taken away, which some replica
    /// does then.
    pub held_until: Option<SystemTime>,
}

// === impl Health ===

impl Health {
    /// What it is called in filters and labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Suspect => "suspect",
            Self::Unknown => "unknown",
        }
    }
}

// === impl Findings ===

impl Findings {
    /// The health of a registered instance whose session lives, or that has none, and that is to
    /// be checked by `checks`.
    pub fn health(
        findings: Option<&Self>,
        record: &InstanceRecord,
        checks: &[HealthCheck],
    ) -> Health {
        let held = findings
            .and_then(|findings| findings.damping)
            .is_some_and(|damping| damping.held_until.is_some());
        let mut known: Vec<_> = findings
            .into_iter()
            .flat_map(|findings| findings.about(record, checks))
            .collect();
        if held || known.iter().any(|finding| !finding.passing) {
            return Health::Unhealthy;
        }
        let spoken_of = !known.is_empty();
        known.retain(|finding| matches!(finding.source, Source::Check { .. }));
        let unchecked = |check: &&HealthCheck| {
            let found = |finding: &&Finding| finding.source.is_check(&check.name);
            !known.iter().any(found)
        };
        if checks.iter().filter(unchecked).any(|c| c.starts_unhealthy) {
            return Health::Unhealthy;
        }
        let unknown = record.session.is_none() && !spoken_of;
        if unknown || checks.iter().any(|check| unchecked(&check)) {
            return Health::Unknown;
        }
        Health::Healthy
    }

    /// Says whether anything in them speaks against the instance.
    pub fn object(&self) -> bool {
        let held = self
            .damping
            .is_some_and(|damping| damping.held_until.is_some());
        held || self.findings.iter().any(|finding| !finding.passing)
    }

    /// Since when an instance that works does so, if not since it was registered.
    pub fn works_since(
        &self,
        record: &InstanceRecord,
        checks: &[HealthCheck],
    ) -> Option<SystemTime> {
        let recovered = self
            .recovered
            .filter(|_| self.registration == record.registration());
        let begun = self.about(record, checks).filter(|finding| {
            let begins = |check: &HealthCheck| check.starts_unhealthy;
            finding.source.check(checks).is_some_and(begins)
        });
        let begun = begun.map(|finding| finding.since);
        begun.chain(recovered).max()
    }

    /// Those that are about this registration, and about what is checked now.
    pub fn about<'a>(
        &'a self,
        record: &'a InstanceRecord,
        checks: &'a [HealthCheck],
    ) -> impl Iterator<Item = &'a Finding> {
        let same = self.registration == record.registration();
        self.findings
            .iter()
            .filter(move |finding| same && finding.source.is_current(record, checks))
    }
}

// === impl Source ===

impl Source {
    /// The check that found it, if one did.
    fn check<'a>(&self, checks: &'a [HealthCheck]) -> Option<&'a HealthCheck> {
        checks.iter().find(|check| self.is_check(&check.name))
    }

    fn is_check(&self, wanted: &str) -> bool {
        matches!(self, Self::Check { name, .. } if name == wanted)
    }

    fn is_current(&self, record: &InstanceRecord, checks: &[HealthCheck]) -> bool {
        match self {
            Self::Report { .. } => true,
            Self::Check { name, target } => checks
                .iter()
                .any(|check| check.name == *name && check.target(&record.spec) == *target),
        }
    }
}
