//! What ends when its time is over, and how.

use std::{
    iter,
    time::{Duration, SystemTime},
};

use bytes::Bytes;

use crate::{
    cache::Change,
    domain::{
        Core,
        keyspace::InstanceKey,
        records,
        registry::{
            Damping, Drain, Findings, Operator, Registration, RemovalCause, ServiceSettings,
            removal::departure::Departure,
        },
        state::{Item, Kind, State, StateProjection},
    },
    store::{Compare, Operation, Txn},
};

/// After how long nothing is left of a penalty for changing health too often.
const DAMPING_MEMORY: Duration = Duration::from_secs(600);

/// Something in the state that has a time, by its path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Timer {
    /// What was found of an instance: a report ends, or that the instance is held back; all of it
    /// goes with the registration.
    Findings(Bytes),
    /// What was decided about an instance: a drain that nobody ended ends, and goes with the
    /// registration.
    Operator(Bytes),
    /// What was set for a service: the release of its brake ends.
    Settings(Bytes),
}

/// How something ends.
pub(super) enum End {
    /// By this.
    Txn(Txn),
    /// With its instance.
    Departure(Departure),
}

// === impl Timer ===

impl Timer {
    /// Everything that may have a time.
    pub(super) fn all(state: &State) -> impl Iterator<Item = Self> {
        let findings = state.health.keys().cloned().map(Self::Findings);
        let operators = state.operators.keys().cloned().map(Self::Operator);
        let settings = state.settings.keys().cloned().map(Self::Settings);
        findings.chain(operators).chain(settings)
    }

    /// Whose time a change may have changed.
    pub(super) fn of_change(
        change: &Change<StateProjection>,
    ) -> impl Iterator<Item = Self> + use<> {
        let path = || change.key.clone();
        let is = |kind: Kind| change.kind == kind as usize;
        let registration = is(Kind::Instance) && registration_changed(change);
        let findings = registration || is(Kind::Findings);
        let operator = registration || is(Kind::Operator);
        iter::empty()
            .chain(findings.then(|| Self::Findings(path())))
            .chain(operator.then(|| Self::Operator(path())))
            .chain(is(Kind::Settings).then(|| Self::Settings(path())))
    }

    /// What it is about.
    pub(super) fn path(&self) -> &Bytes {
        match self {
            Self::Findings(path) | Self::Operator(path) | Self::Settings(path) => path,
        }
    }

    /// When it is over; `None`: it is not there, or stays. What a newer program wrote is left to
    /// those that understand it.
    pub(super) fn due(&self, state: &State, core: &Core) -> Option<SystemTime> {
        let ours = |format: u32| format <= records::FORMAT;
        match self {
            Self::Findings(path) => {
                let findings = state.health.get(path).filter(|f| ours(f.format))?;
                let is_current = is_current(state, core, path, findings.registration)?;
                findings_due(findings, is_current)
            }
            Self::Operator(path) => {
                let operator = state.operators.get(path).filter(|o| ours(o.format))?;
                let drain = operator.drain?;
                match is_current(state, core, path, drain.registration)? {
                    true => drain.deadline.checked_add(core.settings.drain_overdue),
                    // What else was decided is for the next registration.
                    false => operator.is_only_drain().then_some(SystemTime::UNIX_EPOCH),
                }
            }
            Self::Settings(path) => {
                let settings = state.settings.get(path).filter(|s| ours(s.format))?;
                settings.brake_released_until
            }
        }
    }

    /// How what is over at `now` ends.
    pub(super) fn end(&self, state: &State, core: &Core, now: SystemTime) -> Option<End> {
        let (key, seen, left) = match self {
            Self::Findings(path) => {
                let findings = state.health.get(path)?;
                let is_current = is_current(state, core, path, findings.registration)?;
                let left = findings_left(findings, is_current, now);
                let left = match is_current && starts_slowly(state, path) {
                    true => with_recovery(findings, left, now),
                    false => left,
                };
                let left = left.map(|left| records::encode_findings(&left));
                (
                    core.keys.health(&instance_key(path)?),
                    findings.mod_revision,
                    left,
                )
            }
            Self::Operator(path) => {
                let operator = state.operators.get(path)?;
                if let Some(departure) = overdue(operator, state, core, path) {
                    return Some(End::Departure(departure));
                }
                (
                    core.keys.operator(&instance_key(path)?),
                    operator.mod_revision,
                    None,
                )
            }
            Self::Settings(path) => {
                let settings = state.settings.get(path)?;
                let left = settings_left(settings).map(|left| records::encode_service(&left));
                (
                    core.keys.service(&settings.key),
                    settings.mod_revision,
                    left,
                )
            }
        };
        let end = match left {
            Some(left) => Operation::put(key.clone(), left),
            None => Operation::delete(key.clone()),
        };
        let seen = Compare::mod_revision(key, seen);
        Some(End::Txn(Txn::new().when(seen).then(end)))
    }
}

/// Says whether the instance has that registration; `None` if it cannot be told, because the record
/// cannot be decoded.
fn is_current(
    state: &State,
    core: &Core,
    path: &Bytes,
    registration: Registration,
) -> Option<bool> {
    if let Some(instance) = state.instances.get(path) {
        return Some(instance.record.registration() == registration);
    }
    let hidden = core.keys.instance(&instance_key(path)?);
    (!state.undecodable.contains(&hidden)).then_some(false)
}

fn instance_key(path: &Bytes) -> Option<InstanceKey> {
    InstanceKey::parse(std::str::from_utf8(path).ok()?)
}

fn registration_changed(change: &Change<StateProjection>) -> bool {
    let registration = |side: &Option<Item>| match side {
        Some(Item::Instance(instance)) => Some(instance.record.registration()),
        _ => None,
    };
    registration(&change.before) != registration(&change.after)
}

/// The removal of an instance that is drained.
fn overdue(operator: &Operator, state: &State, core: &Core, path: &Bytes) -> Option<Departure> {
    let Drain { registration, .. } = operator.drain?;
    let record = &state.instances.get(path)?.record;
    if record.registration() != registration {
        return None;
    }
    let key = core.keys.operator(&record.key);
    let mut with: Vec<_> = core.findings_of(record, state).into_iter().collect();
    with.extend(operator.is_only_drain().then(|| key.clone()));
    Some(Departure {
        record: record.clone(),
        cause: RemovalCause::Drained,
        detail: "its drain was over, and whoever drained it was gone".into(),
        when: vec![Compare::mod_revision(key, operator.mod_revision)],
        with,
    })
}

fn findings_due(findings: &Findings, is_current: bool) -> Option<SystemTime> {
    let held = findings.damping.and_then(|damping| damping.held_until);
    if !is_current && held.is_none() {
        // A penalty outlives the registration: it is not shaken off by registering anew.
        let forgotten = findings.damping.and_then(|damping| forgotten(&damping));
        return Some(forgotten.unwrap_or(SystemTime::UNIX_EPOCH));
    }
    let current = findings.findings.iter().filter(|_| is_current);
    current.filter_map(|f| f.expires).chain(held).min()
}

fn findings_left(findings: &Findings, is_current: bool, now: SystemTime) -> Option<Findings> {
    let mut left = findings.clone();
    left.findings
        .retain(|f| is_current && f.expires.is_none_or(|expires| expires > now));
    if let Some(damping) = &mut left.damping {
        damping.held_until = damping.held_until.filter(|until| *until > now);
    }
    left.damping = left.damping.filter(|damping| {
        damping.held_until.is_some() || forgotten(damping).is_some_and(|end| end > now)
    });
    (!left.findings.is_empty() || left.damping.is_some()).then_some(left)
}

fn starts_slowly(state: &State, path: &Bytes) -> bool {
    let instance = state.instances.get(path);
    let service = instance.map(|instance| instance.record.key.service_key().path());
    let settings = service.and_then(|service| state.settings.get(service.as_bytes()));
    settings.is_some_and(|settings| settings.slow_start.is_some())
}

/// What is left, with when the instance recovered: a slow start begins then.
fn with_recovery(findings: &Findings, left: Option<Findings>, now: SystemTime) -> Option<Findings> {
    let still = left.as_ref().is_some_and(Findings::object);
    let recovered = match findings.object() && !still {
        true => Some(now),
        false => findings.recovered,
    };
    let nothing = || Findings {
        findings: Vec::new(),
        damping: None,
        ..findings.clone()
    };
    match recovered {
        Some(_) => Some(Findings {
            recovered,
            ..left.unwrap_or_else(nothing)
        }),
        None => left,
    }
}

fn forgotten(damping: &Damping) -> Option<SystemTime> {
    damping.updated.checked_add(DAMPING_MEMORY)
}

/// A record that was made for the release alone goes with it.
fn settings_left(settings: &ServiceSettings) -> Option<ServiceSettings> {
    let left = ServiceSettings {
        brake_released_until: None,
        ..settings.clone()
    };
    (!left.is_unset()).then_some(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::registry::{Finding, Source};

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn report(by: &str, expires: Option<u64>) -> Finding {
        Finding {
            source: Source::Report { by: by.into() },
            passing: false,
            detail: String::new(),
            since: at(0),
            expires: expires.map(at),
        }
    }

    fn findings(findings: &[Finding], held_until: Option<u64>) -> Findings {
        Findings {
            findings: findings.to_vec(),
            damping: held_until.map(|until| Damping {
                penalty: 3000,
                updated: at(5),
                held_until: Some(at(until)),
            }),
            ..Findings::default()
        }
    }

    #[test]
    fn each_report_ends_at_its_time_and_the_last_one_takes_the_record_with_it() {
        let two = findings(&[report("a", Some(10)), report("b", Some(20))], None);
        assert_eq!(findings_due(&two, true), Some(at(10)));
        assert_eq!(findings_left(&two, true, at(9)), Some(two.clone()));
        let one = findings_left(&two, true, at(10)).unwrap();
        assert_eq!(one.findings, [report("b", Some(20))]);
        assert_eq!(findings_due(&one, true), Some(at(20)));
        assert_eq!(findings_left(&one, true, at(20)), None);
        let lasting = findings(&[report("a", None)], None);
        assert_eq!(findings_due(&lasting, true), None);
    }

    #[test]
    fn what_starts_slowly_is_remembered_to_have_recovered_with_the_last_objection() {
        let two = findings(&[report("a", Some(10)), report("b", Some(20))], None);
        let one = with_recovery(&two, findings_left(&two, true, at(10)), at(10)).unwrap();
        assert_eq!(one.recovered, None, "one still objects");
        let none = with_recovery(&one, findings_left(&one, true, at(20)), at(20)).unwrap();
        assert_eq!((none.findings.len(), none.recovered), (0, Some(at(20))));
        assert_eq!(findings_due(&none, true), None);
        let praise = Finding {
            passing: true,
            ..report("c", Some(30))
        };
        let praised = Findings {
            findings: vec![praise],
            ..none
        };
        let left = findings_left(&praised, true, at(30));
        let left = with_recovery(&praised, left, at(30)).unwrap();
        assert_eq!(left.recovered, Some(at(20)), "nothing had objected");
        // It goes with the registration.
        assert_eq!(findings_left(&left, false, at(31)), None);
    }

    #[test]
    fn what_is_about_a_registration_that_is_gone_goes_but_a_penalty_is_remembered() {
        let lasting = findings(&[report("a", None)], None);
        assert_eq!(findings_due(&lasting, false), Some(at(0)));
        assert_eq!(findings_left(&lasting, false, at(1)), None);
        let held = findings(&[report("a", None)], Some(30));
        assert_eq!(findings_due(&held, false), Some(at(30)));
        let penalty = findings_left(&held, false, at(30)).unwrap();
        assert!(penalty.findings.is_empty());
        let forgotten = at(5) + DAMPING_MEMORY;
        assert_eq!(findings_due(&penalty, false), Some(forgotten));
        assert_eq!(findings_left(&penalty, false, forgotten), None);
    }
}
