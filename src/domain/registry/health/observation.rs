//! What becomes of the findings of an instance when something is found, or ends.

use std::time::{Duration, SystemTime};

use crate::domain::registry::{
    Damping, Finding, Findings, HealthCheck, InstanceRecord, ServiceSettings, Source,
};

/// Something found about the health of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// Who found it.
    pub source: Source,
    /// Whether it works.
    pub passing: bool,
    /// What was seen, for people.
    pub detail: String,
    /// How long it counts; `None`: until something else is found.
    pub ttl: Option<Duration>,
}

/// What findings are about, and when.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) record: &'a InstanceRecord,
    /// What is checked of it.
    pub(super) checks: &'a [HealthCheck],
    /// What was set for its service.
    pub(super) settings: Option<&'a ServiceSettings>,
    pub(super) now: SystemTime,
}

// === impl Subject ===

impl Subject<'_> {
    /// What is known once `observation` is known too. What is so already stays as it is, but for
    /// how long it counts.
    pub(super) fn with(&self, before: Option<&Findings>, observation: &Observation) -> Findings {
        let Observation {
            source,
            passing,
            detail,
            ttl,
        } = observation;
        let (same, mut findings): (Vec<_>, Vec<_>) = self
            .current(before)
            .partition(|finding| finding.source.is_same(source));
        let known = same.iter().find(|finding| finding.passing == *passing);
        findings.push(Finding {
            source: source.clone(),
            passing: *passing,
            detail: detail.clone(),
            since: known.map_or(self.now, |known| known.since),
            expires: ttl.map(|ttl| self.now + ttl),
        });
        findings.sort_by(|a, b| a.source.cmp(&b.source));
        self.settled(before, findings)
    }

    fn current(&self, findings: Option<&Findings>) -> impl Iterator<Item = Finding> {
        let about = findings
            .into_iter()
            .flat_map(|f| f.about(self.record, self.checks));
        about.cloned().collect::<Vec<_>>().into_iter()
    }

    fn settled(&self, before: Option<&Findings>, findings: Vec<Finding>) -> Findings {
        let objects = |finding: &Finding| !finding.passing;
        let failed = self.current(before).any(|finding| objects(&finding));
        let fails = findings.iter().any(objects);
        let recovered = before
            .filter(|before| before.registration == self.record.registration())
            .and_then(|before| before.recovered);
        let damped = self.settings.is_some_and(|settings| settings.flap_damping);
        let damping = before.and_then(|before| before.damping).filter(|_| damped);
        Findings {
            registration: self.record.registration(),
            findings,
            damping: match damped && failed != fails {
                true => Some(Damping::count(damping, self.now)),
                false => damping,
            },
            recovered: match failed && !fails {
                true => Some(self.now),
                false => recovered,
            },
            format: before.map_or(0, |before| before.format),
            mod_revision: before.map_or(0, |before| before.mod_revision),
        }
    }
}

// === impl Source ===

impl Source {
    /// Says whether one replaces the other: a check is the same whatever it is made of.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Check { name, .. }, Self::Check { name: other, .. }) => name == other,
            (Self::Report { by }, Self::Report { by: other }) => by == other,
            _ => false,
        }
    }
}
