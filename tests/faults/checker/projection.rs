//! What a selection shows of stored records. Shares nothing with the server's own derivation: what
//! it gets wrong is not got wrong here in the same way.

use std::collections::{BTreeMap, BTreeSet};

use stanchion::proto::store;
use stanchion_client::proto::{DeleteCause, Health, OperatorState};

use crate::{
    view::{Look, View, config_stored, instance_stored},
    witness::{Change, Put},
};

/// What one revision changed of what is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub path: String,
    pub before: Option<Look>,
    pub after: Option<Look>,
    /// What a deletion may name as its cause.
    pub causes: Vec<DeleteCause>,
}

/// The records that decide what a selection shows.
pub struct Projection {
    view: View,
    /// What every path of the selection begins with.
    prefix: String,
    /// What is shown now.
    pub shown: BTreeMap<String, Look>,
    sessions: BTreeSet<String>,
    records: BTreeMap<String, (store::Instance, Put)>,
    operators: BTreeMap<String, store::Operator>,
    findings: BTreeMap<String, store::Health>,
}

// === impl Projection ===

impl Projection {
    pub fn new(view: &View) -> Self {
        Self {
            view: view.clone(),
            prefix: view.prefix(),
            shown: BTreeMap::new(),
            sessions: BTreeSet::new(),
            records: BTreeMap::new(),
            operators: BTreeMap::new(),
            findings: BTreeMap::new(),
        }
    }

    /// Takes all changes of one revision, keys without their common prefix. Says what they change.
    pub fn apply(&mut self, changes: &[(&str, &Change)]) -> Result<Vec<Step>, String> {
        match self.view {
            View::Configs { .. } => self.configs(changes),
            View::Instances { .. } => self.instances(changes),
        }
    }

    fn configs(&mut self, changes: &[(&str, &Change)]) -> Result<Vec<Step>, String> {
        let mut steps = Vec::new();
        for (key, change) in changes {
            let Some(path) = key.strip_prefix("cfg/") else {
                continue;
            };
            if !path.starts_with(&self.prefix) {
                continue;
            }
            let after = match &change.put {
                Some(put) => config_stored(path, decoded(key, put)?, put.mod_revision),
                None => None,
            };
            let before = match &after {
                Some(look) => self.shown.insert(path.to_owned(), look.clone()),
                None => self.shown.remove(path),
            };
            if before != after {
                steps.push(Step {
                    path: path.to_owned(),
                    before,
                    after,
                    causes: vec![DeleteCause::Deleted],
                });
            }
        }
        Ok(steps)
    }

    fn instances(&mut self, changes: &[(&str, &Change)]) -> Result<Vec<Step>, String> {
        let suspects: BTreeSet<String> = self
            .records
            .iter()
            .filter(|(_, (record, _))| self.is_suspect(record))
            .map(|(path, _)| path.clone())
            .collect();
        for (key, change) in changes {
            self.note(key, change.put.as_ref())?;
        }
        let before = std::mem::take(&mut self.shown);
        let protected = self.is_protected();
        for (path, (record, put)) in &self.records {
            let (operator, health) = self.standing(path, record, put);
            let works = matches!(health, Health::Healthy | Health::Unknown);
            let serving = operator == OperatorState::Active && (works || protected);
            if serving || !matches!(self.view, View::Instances { serving: true, .. }) {
                let standing = (operator, health, serving);
                let look = instance_stored(path, record, put.mod_revision, standing);
                self.shown.insert(path.clone(), look);
            }
        }
        let paths: BTreeSet<&String> = before.keys().chain(self.shown.keys()).collect();
        let steps = paths.into_iter().filter_map(|path| {
            let (before, after) = (before.get(path), self.shown.get(path));
            (before != after).then(|| Step {
                path: path.clone(),
                before: before.cloned(),
                after: after.cloned(),
                causes: self.causes(path, &suspects),
            })
        });
        Ok(steps.collect())
    }

    /// Takes one change of what decides about instances.
    fn note(&mut self, key: &str, put: Option<&Put>) -> Result<(), String> {
        let Some((kind, path)) = key.split_once('/') else {
            return Ok(());
        };
        if kind == "ses" {
            match put {
                Some(_) => self.sessions.insert(path.to_owned()),
                None => self.sessions.remove(path),
            };
            return Ok(());
        }
        if !path.starts_with(&self.prefix) {
            return Ok(());
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
            _ => {}
        }
        Ok(())
    }

    /// The session that should keep it alive is gone.
    fn is_suspect(&self, record: &store::Instance) -> bool {
        !record.session_id.is_empty() && !self.sessions.contains(&record.session_id)
    }

    /// So few of its active instances work that the service shows all of them.
    fn is_protected(&self) -> bool {
        let standings = self.records.iter();
        let active: Vec<_> = standings
            .map(|(path, (record, put))| self.standing(path, record, put))
            .filter(|(operator, _)| *operator == OperatorState::Active)
            .collect();
        let works = |health: Health| matches!(health, Health::Healthy | Health::Unknown);
        let working = active.iter().filter(|(_, health)| works(*health)).count();
        working * 100 < active.len() * 30
    }

    /// What an operator decided of an instance, and how it is.
    fn standing(&self, path: &str, record: &store::Instance, put: &Put) -> (OperatorState, Health) {
        let registration = store::Registration {
            create_revision: put.create_revision,
            session_id: record.session_id.clone(),
        };
        let operator = self.operators.get(path);
        let operator = operator.map_or(OperatorState::Active, |operator| {
            let drain = operator.drain.as_ref();
            match operator.state() {
                store::OperatorState::Isolated => OperatorState::Isolated,
                _ if drain.is_some_and(|d| d.registration.as_ref() == Some(&registration)) => {
                    OperatorState::Draining
                }
                _ => OperatorState::Active,
            }
        });
        let found = self.findings.get(path);
        let found = found.filter(|found| found.registration.as_ref() == Some(&registration));
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
        (operator, health)
    }

    /// What the end of an instance may be put down to. A session that is closed takes more
    /// instances with it than fit into one transaction, so that those before the last look like
    /// deregistered; one that is suspect may also be deregistered by its owner.
    fn causes(&self, path: &str, suspects: &BTreeSet<String>) -> Vec<DeleteCause> {
        if self.records.contains_key(path) {
            vec![DeleteCause::NoLongerMatching]
        } else if suspects.contains(path) {
            vec![DeleteCause::Expired, DeleteCause::Deregistered]
        } else {
            vec![DeleteCause::Deregistered, DeleteCause::SessionClosed]
        }
    }
}

fn decoded<R: prost::Message + Default>(key: &str, put: &Put) -> Result<R, String> {
    R::decode(put.value.as_ref()).map_err(|error| format!("the record at {key}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(record: &impl prost::Message, mod_revision: i64) -> Option<Put> {
        Some(Put {
            value: record.encode_to_vec().into(),
            create_revision: mod_revision,
            mod_revision,
            version: 1,
            lease: 0,
        })
    }

    fn instance(session: &str) -> store::Instance {
        store::Instance {
            session_id: session.into(),
            ..store::Instance::default()
        }
    }

    /// What the changes of one revision do, as path, before and after, by health or version.
    fn steps(projection: &mut Projection, changes: &[(&str, Option<Put>)]) -> Vec<String> {
        let changes: Vec<_> = changes
            .iter()
            .map(|(key, put)| {
                let key_bytes = key.as_bytes().to_vec().into();
                let put = put.clone();
                (
                    *key,
                    Change {
                        key: key_bytes,
                        put,
                    },
                )
            })
            .collect();
        let borrowed: Vec<_> = changes.iter().map(|(key, change)| (*key, change)).collect();
        let word = |look: &Option<Look>| match look {
            None => "-".to_owned(),
            Some(look) => [
                "Suspect",
                "Unhealthy",
                "Healthy",
                "Unknown",
                "version: 1",
                "version: 2",
            ]
            .into_iter()
            .find(|word| look.contains(word))
            .unwrap_or("?")
            .to_owned(),
        };
        let told = projection.apply(&borrowed).unwrap();
        told.iter()
            .map(|step| {
                let causes: Vec<_> = step
                    .causes
                    .iter()
                    .map(|cause| cause.as_str_name())
                    .collect();
                let cause = if step.after.is_none() {
                    causes.join("|")
                } else {
                    String::new()
                };
                let line = format!(
                    "{} {} {} {}",
                    step.path,
                    word(&step.before),
                    word(&step.after),
                    cause.replace("DELETE_CAUSE_", "")
                );
                line.trim_end().to_owned()
            })
            .collect()
    }

    #[test]
    fn a_deleted_head_is_no_config() {
        let mut projection = Projection::new(&View::configs("a"));
        let head = |version, deleted| store::ConfigHead {
            version,
            deleted,
            ..store::ConfigHead::default()
        };
        let key = "cfg/default/a/b";
        assert_eq!(
            steps(
                &mut projection,
                &[(key, put(&head(1, false), 3)), ("cfg/default/b", None)]
            ),
            ["default/a/b - version: 1"]
        );
        assert_eq!(
            steps(&mut projection, &[(key, put(&head(2, true), 4))]),
            ["default/a/b version: 1 - DELETED"]
        );
        assert!(steps(&mut projection, &[(key, None)]).is_empty());
    }

    #[test]
    fn instances_follow_their_session_at_the_revision_of_its_end() {
        let mut all = Projection::new(&View::instances("web"));
        let mut serving = Projection::new(&View::serving("web"));
        let (ses, reg) = ("ses/s1", "reg/default/web/i");
        let open = [
            (ses, put(&store::Session::default(), 2)),
            (reg, put(&instance("s1"), 2)),
        ];
        for projection in [&mut all, &mut serving] {
            // Another one, so that losing the first one does not protect the service.
            steps(projection, &[("reg/default/web/j", put(&instance(""), 1))]);
            assert_eq!(steps(projection, &open), ["default/web/i - Healthy"]);
            assert!(steps(projection, &[("reg/default/web2/i", put(&instance(""), 3))]).is_empty());
        }
        let end = [(ses, None)];
        assert_eq!(steps(&mut all, &end), ["default/web/i Healthy Suspect"]);
        assert_eq!(
            steps(&mut serving, &end),
            ["default/web/i Healthy - NO_LONGER_MATCHING"]
        );
        let gone = [(reg, None)];
        assert_eq!(
            steps(&mut all, &gone),
            ["default/web/i Suspect - EXPIRED|DEREGISTERED"]
        );
        assert!(steps(&mut serving, &gone).is_empty());
    }

    #[test]
    fn checks_and_operators_decide_who_serves() {
        let mut serving = Projection::new(&View::serving("web"));
        let (reg, op, hlt) = ("reg/default/web/i", "op/default/web/i", "hlt/default/web/i");
        steps(
            &mut serving,
            &[("reg/default/web/j", put(&instance(""), 1))],
        );
        assert_eq!(
            steps(&mut serving, &[(reg, put(&instance(""), 2))]),
            ["default/web/i - Unknown"]
        );
        let registration = Some(store::Registration {
            create_revision: 2,
            ..store::Registration::default()
        });
        let unhealthy = store::Health {
            registration: registration.clone(),
            findings: vec![store::Finding {
                source: store::FindingSource::Report.into(),
                state: store::HealthState::Unhealthy.into(),
                ..store::Finding::default()
            }],
            ..store::Health::default()
        };
        assert_eq!(
            steps(&mut serving, &[(hlt, put(&unhealthy, 3))]),
            ["default/web/i Unknown - NO_LONGER_MATCHING"]
        );
        assert_eq!(
            steps(&mut serving, &[(hlt, None)]),
            ["default/web/i - Unknown"]
        );
        let isolated = store::Operator {
            state: store::OperatorState::Isolated.into(),
            ..store::Operator::default()
        };
        assert_eq!(
            steps(&mut serving, &[(op, put(&isolated, 5))]),
            ["default/web/i Unknown - NO_LONGER_MATCHING"]
        );
    }
}
