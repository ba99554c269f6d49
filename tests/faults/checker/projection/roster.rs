//! What is known of instances: their records, judged by sessions, operators and findings.

use std::collections::{BTreeMap, BTreeSet};

use stanchion::proto::store;
use stanchion_client::proto::{Health, OperatorState};

use super::decoded;
use crate::witness::{Change, Put};

/// What is known of the instances whose paths begin with a prefix.
pub(super) struct Roster {
    prefix: String,
    sessions: BTreeSet<String>,
    records: BTreeMap<String, (store::Instance, Put)>,
    operators: BTreeMap<String, store::Operator>,
    findings: BTreeMap<String, store::Health>,
}

/// What is known of an instance, all taken together.
pub(super) struct Standing<'a> {
    pub(super) path: &'a str,
    pub(super) record: &'a store::Instance,
    pub(super) put: &'a Put,
    pub(super) operator: OperatorState,
    pub(super) health: Health,
}

// === impl Roster ===

impl Roster {
    pub(super) fn new(prefix: String) -> Self {
        Self {
            prefix,
            sessions: BTreeSet::new(),
            records: BTreeMap::new(),
            operators: BTreeMap::new(),
            findings: BTreeMap::new(),
        }
    }

    pub(super) fn take(&mut self, changes: &[(&str, &Change)]) -> Result<bool, String> {
        let mut touched = false;
        for (key, change) in changes {
            touched |= self.note(key, change.put.as_ref())?;
        }
        Ok(touched)
    }

    fn note(&mut self, key: &str, put: Option<&Put>) -> Result<bool, String> {
        let Some((kind, path)) = key.split_once('/') else {
            return Ok(false);
        };
        if kind == "ses" {
            match put {
                Some(_) => self.sessions.insert(path.to_owned()),
                None => self.sessions.remove(path),
            };
            return Ok(true);
        }
        if !path.starts_with(&self.prefix) {
            return Ok(false);
        }
        let path = path.to_owned();
        match (kind, put) {
            ("reg", Some(put)) => {
                let record = (decoded(key, put)?, put.clone());
                self.records.insert(path, record);
            }
            ("reg", None) => drop(self.records.remove(&path)),
            ("op", Some(put)) => {
                self.operators.insert(path, decoded(key, put)?);
            }
            ("op", None) => drop(self.operators.remove(&path)),
            ("hlt", Some(put)) => {
                self.findings.insert(path, decoded(key, put)?);
            }
            ("hlt", None) => drop(self.findings.remove(&path)),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The session that should keep it alive is gone.
    fn is_suspect(&self, record: &store::Instance) -> bool {
        !record.session_id.is_empty() && !self.sessions.contains(&record.session_id)
    }

    pub(super) fn standings(&self) -> impl Iterator<Item = Standing<'_>> {
        let all = self.records.iter();
        all.map(|(path, (record, put))| self.standing(path, record, put))
    }

    fn standing<'a>(
        &self,
        path: &'a str,
        record: &'a store::Instance,
        put: &'a Put,
    ) -> Standing<'a> {
        let registration = Some(store::Registration {
            create_revision: put.create_revision,
            session_id: record.session_id.clone(),
        });
        let operator = self.operators.get(path);
        let operator = operator.map_or(OperatorState::Active, |operator| {
            let drained = operator.drain.as_ref().map(|drain| &drain.registration);
            match operator.state() {
                store::OperatorState::Isolated => OperatorState::Isolated,
                _ if drained == Some(&registration) => OperatorState::Draining,
                _ => OperatorState::Active,
            }
        });
        let found = self.findings.get(path);
        let found = found.filter(|found| found.registration == registration);
        let found = found.map_or(&[][..], |found| &found.findings);
        let objects = |finding: &store::Finding| finding.state() == store::HealthState::Unhealthy;
        let health = if self.is_suspect(record) {
            Health::Suspect
        } else if found.iter().any(objects) {
            Health::Unhealthy
        } else if record.session_id.is_empty() && found.is_empty() {
            Health::Unknown
        } else {
            Health::Healthy
        };
        Standing {
            path,
            record,
            put,
            operator,
            health,
        }
    }
}

// === impl Standing ===

impl Standing<'_> {
    pub(super) fn is_active(&self) -> bool {
        self.operator == OperatorState::Active
    }

    pub(super) fn works(&self) -> bool {
        self.is_active() && matches!(self.health, Health::Healthy | Health::Unknown)
    }

    /// Whether traffic goes there, given whether its service is protected.
    pub(super) fn serves(&self, protected: bool) -> bool {
        self.works() || (self.is_active() && protected)
    }
}
