//! A service: what its instances come to, and what was set for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use crate::{
    domain::{
        keyspace::ServiceKey,
        names::{Label, Namespace},
    },
    store::Revision,
};

use super::{Health, HealthCheck, Instance, OperatorState};

/// Below how many instances in a hundred that work the serving view shows all. Usual for outlier
/// detection in meshes is 50; lists are kept longer, because who asks balances by itself.
const PANIC_THRESHOLD: u32 = 30;
/// From how many instances with a session on many lost sessions say more than a few do.
const BRAKE_FROM: usize = 4;

/// A service: it exists while it has instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The namespace and name, `namespace/name`.
    pub path: String,
    /// Its instances in numbers.
    pub counts: Counts,
    /// So few of its instances work that the serving view shows all that are active.
    pub protected: bool,
    /// So many sessions ended that removals are held.
    pub braked: bool,
    /// The revision at which the service appeared.
    pub create_revision: Revision,
    /// The revision at which any of this last changed.
    pub visible_revision: Revision,
}

/// Instances in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// All of them.
    pub instances: usize,
    /// Those in the serving view.
    pub serving: usize,
    /// Those whose operator state is active.
    pub active: usize,
    /// Those that are active, and healthy or not known not to be.
    pub working: usize,
    /// Those that have a session, whether it lives or not.
    pub sessions: usize,
    /// Those whose session ended.
    pub suspect: usize,
    /// Those that a check or a report objects to.
    pub unhealthy: usize,
}

/// What was set for a service. A service exists without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSettings {
    /// Which service.
    pub key: ServiceKey,
    /// How instances are checked that say nothing of it.
    pub checks: Vec<HealthCheck>,
    /// Below how many instances in a hundred that work all are shown; 0: never; `None`: 30.
    pub panic_threshold: Option<u32>,
    /// Whether removals are never held because many sessions ended.
    pub brake_off: bool,
    /// Until when they are not held although many sessions ended. It counts until it is taken
    /// away, which some replica does then.
    pub brake_released_until: Option<SystemTime>,
    /// After how long an unhealthy instance is removed; `None`: never.
    pub remove_unhealthy_after: Option<Duration>,
    /// Whether instances are held back whose health changes too often.
    pub flap_damping: bool,
    /// Over what time the weight of an instance grows; `None`: at once.
    pub slow_start: Option<Duration>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// What the service is for.
    pub description: String,
    /// The service whose instances are shown instead.
    pub alias_of: Option<ServiceKey>,
    /// For whose services the instances may be shown.
    pub exported_to: Export,
    /// Who wrote the settings, unverified.
    pub author: Label,
    /// When.
    pub update_time: SystemTime,
    /// The request that wrote them.
    pub request_id: String,
    /// The format they were written in.
    pub format: u32,
    /// The revision that created the record.
    pub create_revision: Revision,
    /// The revision that last wrote it.
    pub mod_revision: Revision,
}

/// The namespaces that may show the instances of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Export {
    /// These, and its own.
    To(BTreeSet<Namespace>),
    /// Every one.
    ToAll,
}

// === impl Service ===

impl Service {
    /// The namespace and the name.
    pub fn names(&self) -> (&str, &str) {
        self.path.split_once('/').unwrap_or(("", &self.path))
    }
}

// === impl Counts ===

impl Counts {
    /// Counts an instance.
    pub fn add(&mut self, instance: &Instance) {
        self.count(instance, |number| *number += 1);
    }

    /// Counts an instance no longer.
    pub fn remove(&mut self, instance: &Instance) {
        self.count(instance, |number| *number = number.saturating_sub(1));
    }

    fn count(&mut self, instance: &Instance, step: impl Fn(&mut usize)) {
        step(&mut self.instances);
        let active = instance.operator == OperatorState::Active;
        for (counted, number) in [
            (instance.serving, &mut self.serving),
            (active, &mut self.active),
            (active && instance.works(), &mut self.working),
            (instance.record.session.is_some(), &mut self.sessions),
            (instance.health == Health::Suspect, &mut self.suspect),
            (instance.health == Health::Unhealthy, &mut self.unhealthy),
        ] {
            if counted {
                step(number);
            }
        }
    }

    /// Says whether so few instances work that the serving view shows all that are active.
    pub fn are_protected(&self, settings: Option<&ServiceSettings>) -> bool {
        let threshold = settings.and_then(|settings| settings.panic_threshold);
        let threshold = threshold.unwrap_or(PANIC_THRESHOLD) as usize;
        self.working * 100 < self.active * threshold
    }

    /// Says whether so many sessions ended that removals are held.
    pub fn are_braked(&self, settings: Option<&ServiceSettings>) -> bool {
        is_most(self.suspect, self.sessions, settings)
    }

    /// Says whether so many are unhealthy that it may be the checks, and their removals are held.
    pub fn are_doubtful(&self, settings: Option<&ServiceSettings>) -> bool {
        is_most(self.unhealthy, self.instances, settings)
    }
}

/// More than half of enough, unless an operator wants no brake, or has released it.
fn is_most(part: usize, all: usize, settings: Option<&ServiceSettings>) -> bool {
    !settings.is_some_and(ServiceSettings::is_brake_off) && all >= BRAKE_FROM && part * 2 > all
}

// === impl ServiceSettings ===

impl ServiceSettings {
    /// Says whether removals are not held, however many sessions ended.
    pub fn is_brake_off(&self) -> bool {
        self.brake_off || self.brake_released_until.is_some()
    }

    /// Says whether nothing is set.
    pub fn is_unset(&self) -> bool {
        let unset = Self {
            author: self.author.clone(),
            update_time: self.update_time,
            format: self.format,
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            ..Self::unset(self.key.clone())
        };
        *self == unset
    }

    /// What is so if nothing was set.
    pub fn unset(key: ServiceKey) -> Self {
        Self {
            key,
            checks: Vec::new(),
            panic_threshold: None,
            brake_off: false,
            brake_released_until: None,
            remove_unhealthy_after: None,
            flap_damping: false,
            slow_start: None,
            labels: BTreeMap::new(),
            description: String::new(),
            alias_of: None,
            exported_to: Export::default(),
            author: Label::default(),
            update_time: SystemTime::UNIX_EPOCH,
            request_id: String::new(),
            format: 0,
            create_revision: 0,
            mod_revision: 0,
        }
    }
}

// === impl Export ===

impl Default for Export {
    fn default() -> Self {
        Self::To(BTreeSet::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(active: usize, working: usize) -> Counts {
        Counts {
            active,
            working,
            ..Counts::default()
        }
    }

    fn sessions(sessions: usize, suspect: usize) -> Counts {
        Counts {
            sessions,
            suspect,
            ..Counts::default()
        }
    }

    fn settings() -> ServiceSettings {
        ServiceSettings::unset(ServiceKey::parse("default/web").unwrap())
    }

    #[test]
    fn a_service_is_protected_strictly_below_its_threshold() {
        assert!(counts(10, 2).are_protected(None));
        assert!(!counts(10, 3).are_protected(None));
        assert!(counts(1, 0).are_protected(None));
        assert!(!counts(0, 0).are_protected(None), "nothing can be shown");
        let half = ServiceSettings {
            panic_threshold: Some(50),
            ..settings()
        };
        assert!(counts(10, 4).are_protected(Some(&half)));
        let never = ServiceSettings {
            panic_threshold: Some(0),
            ..settings()
        };
        assert!(!counts(10, 0).are_protected(Some(&never)));
    }

    #[test]
    fn the_brake_takes_more_than_half_of_at_least_four() {
        assert!(sessions(4, 3).are_braked(None));
        assert!(!sessions(4, 2).are_braked(None));
        assert!(!sessions(3, 3).are_braked(None));
        let released = ServiceSettings {
            brake_released_until: Some(SystemTime::UNIX_EPOCH),
            ..settings()
        };
        assert!(!sessions(4, 4).are_braked(Some(&released)));
    }
}
