//! Instances, and the services that they add up to.

use std::collections::{BTreeMap, BTreeSet};

use stanchion_client::proto::{self, DeleteCause, Health};

use super::{
    Records,
    roster::{Roster, Standing},
};
use crate::{
    view::{Look, instance_stored, service_counted},
    witness::Change,
};

/// Below how many active instances in a hundred that work a service shows all active ones.
const PROTECTED_BELOW: usize = 30;
/// From how many instances with a session on the end of more than half of them brakes a service.
const BRAKED_FROM: usize = 4;

/// The instances of one service: all, or those that traffic goes to.
pub(super) struct Instances {
    roster: Roster,
    serving: bool,
    /// Who was suspect before the last revision.
    suspects: BTreeSet<String>,
}

/// The services whose paths begin with a prefix.
pub(super) struct Services {
    roster: Roster,
}

// === impl Instances ===

impl Instances {
    pub(super) fn new(prefix: String, serving: bool) -> Self {
        Self {
            roster: Roster::new(prefix),
            serving,
            suspects: BTreeSet::new(),
        }
    }
}

impl Records for Instances {
    fn take(&mut self, changes: &[(&str, &Change)]) -> Result<bool, String> {
        let all = self.roster.standings();
        let suspects = all.filter(|one| one.health == Health::Suspect);
        self.suspects = suspects.map(|one| one.path.to_owned()).collect();
        self.roster.take(changes)
    }

    fn shown(&self) -> BTreeMap<String, Look> {
        let all: Vec<_> = self.roster.standings().collect();
        let protected = is_protected(&all);
        let looks = all.iter().map(|one| {
            let serving = one.serves(protected);
            let standing = (one.operator, one.health, serving);
            let revision = one.put.mod_revision;
            let look = || instance_stored(one.path, one.record, revision, standing);
            (serving || !self.serving).then(|| (one.path.to_owned(), look()))
        });
        looks.flatten().collect()
    }

    /// A session that is closed takes more instances with it than fit into one transaction, so that
    /// those before the last look like deregistered; one that is suspect may also be deregistered
    /// by its owner.
    fn causes(&self, path: &str) -> Vec<DeleteCause> {
        if self.roster.standings().any(|one| one.path == path) {
            vec![DeleteCause::NoLongerMatching]
        } else if self.suspects.contains(path) {
            vec![DeleteCause::Expired, DeleteCause::Deregistered]
        } else {
            vec![DeleteCause::Deregistered, DeleteCause::SessionClosed]
        }
    }
}

// === impl Services ===

impl Services {
    pub(super) fn new(prefix: String) -> Self {
        Self {
            roster: Roster::new(prefix),
        }
    }
}

impl Records for Services {
    fn take(&mut self, changes: &[(&str, &Change)]) -> Result<bool, String> {
        self.roster.take(changes)
    }

    fn shown(&self) -> BTreeMap<String, Look> {
        let mut services: BTreeMap<&str, Vec<Standing<'_>>> = BTreeMap::new();
        for one in self.roster.standings() {
            let (service, _) = one.path.rsplit_once('/').unwrap_or_default();
            services.entry(service).or_default().push(one);
        }
        let look = |(path, all): (&str, Vec<Standing<'_>>)| {
            (path.to_owned(), service_counted(path, counted(&all)))
        };
        services.into_iter().map(look).collect()
    }

    fn causes(&self, _: &str) -> Vec<DeleteCause> {
        vec![DeleteCause::Empty]
    }
}

/// How many of a service are so.
fn count<'a>(all: &[Standing<'a>], holds: impl Fn(&Standing<'a>) -> bool) -> usize {
    all.iter().filter(|one| holds(one)).count()
}

/// Whether so few of its active instances work that a service shows all of them.
fn is_protected(all: &[Standing<'_>]) -> bool {
    count(all, Standing::works) * 100 < count(all, Standing::is_active) * PROTECTED_BELOW
}

/// What the instances of a service add up to.
fn counted(all: &[Standing<'_>]) -> proto::Service {
    let protected = is_protected(all);
    let sessions = count(all, |one| !one.record.session_id.is_empty());
    let suspect = count(all, |one| one.health == Health::Suspect);
    let unhealthy = count(all, |one| one.health == Health::Unhealthy);
    let [
        instance_count,
        serving_count,
        suspect_count,
        unhealthy_count,
    ] = [
        all.len(),
        count(all, |one| one.serves(protected)),
        suspect,
        unhealthy,
    ]
    .map(|number| number.try_into().unwrap());
    proto::Service {
        instance_count,
        serving_count,
        protected,
        suspect_count,
        unhealthy_count,
        braked: sessions >= BRAKED_FROM && suspect * 2 > sessions,
        ..proto::Service::default()
    }
}
