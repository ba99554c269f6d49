//! What watches and lists of the registry are about.

pub(super) mod alias;
mod filter;
mod locality;
mod removed;
mod roster;

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    cache::Selection,
    domain::{
        keyspace::ServiceKey,
        names::{Namespace, ServiceName},
        state::{Item, Kind, State, StateProjection},
    },
};

use super::{Instance, Service};

pub use self::{
    alias::Route,
    filter::{Filter, FilterError},
    locality::{Locality, Nearest, Tier},
    removed::RemovedInstances,
    roster::Roster,
};

/// The part of a digest that says what was asked for; the rest says where it leads.
const ASKED: u64 = !0xffff_ffff;

/// Which instances of a service are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InstanceView {
    /// Those to send traffic to.
    #[default]
    Serving,
    /// All of them.
    All,
}

/// The instances of one service, or of all of a namespace, seen one way.
#[derive(Debug, Clone)]
pub struct Instances {
    /// `namespace/service/` or `namespace/`, as it was asked for.
    asked: Bytes,
    /// What is shown: the same, or that of the service to which an alias leads.
    prefix: Bytes,
    route: Route,
    view: InstanceView,
    filter: Option<Filter>,
}

/// The services of one namespace whose names begin in one way.
#[derive(Debug, Clone)]
pub struct Services {
    /// `namespace/` and the beginning of the name.
    prefix: Bytes,
}

// === impl Instances ===

impl Instances {
    /// The instances of `service`.
    pub fn of(namespace: &Namespace, service: &ServiceName, view: InstanceView) -> Self {
        Self::under(
            [namespace.as_str(), "/", service.as_str(), "/"].concat(),
            view,
        )
    }

    /// The instances of all services of `namespace`.
    pub fn of_namespace(namespace: &Namespace, view: InstanceView) -> Self {
        Self::under([namespace.as_str(), "/"].concat(), view)
    }

    fn under(asked: String, view: InstanceView) -> Self {
        let asked = Bytes::from(asked);
        Self {
            prefix: asked.clone(),
            asked,
            route: Route::Own,
            view,
            filter: None,
        }
    }

    /// The same as it leads in a state, if the service is an alias there.
    pub fn routed(self, state: &State) -> Self {
        let service = self.asked.strip_suffix(b"/").unwrap_or_default();
        let route = state.routes.get(service).cloned().unwrap_or_default();
        let prefix = match &route {
            Route::To(target) => format!("{}/", target.path()).into(),
            Route::Own | Route::Broken(_) => self.asked.clone(),
        };
        Self {
            prefix,
            route,
            ..self
        }
    }

    /// The same as it leads in a state, if that is elsewhere.
    pub fn rerouted(&self, state: &State) -> Option<Self> {
        let routed = self.clone().routed(state);
        (routed.route != self.route).then_some(routed)
    }

    /// The service that is shown, if the one that was asked for is an alias.
    pub fn answered_by(&self) -> Option<&ServiceKey> {
        match &self.route {
            Route::To(target) => Some(target),
            Route::Own | Route::Broken(_) => None,
        }
    }

    /// The service whose instances are shown, or would be.
    pub fn shown(&self) -> Option<ServiceKey> {
        match &self.route {
            Route::To(target) => Some(target.clone()),
            Route::Own | Route::Broken(_) => {
                let asked = self.asked.strip_suffix(b"/")?;
                ServiceKey::parse(std::str::from_utf8(asked).ok()?)
            }
        }
    }

    /// Says whether the service is an alias.
    pub fn is_alias(&self) -> bool {
        self.route != Route::Own
    }

    /// Says whether the service is an alias that leads nowhere.
    pub fn is_broken(&self) -> bool {
        matches!(self.route, Route::Broken(_))
    }

    /// Says whether a digest is that of the same selection when it led elsewhere.
    pub fn leads_elsewhere_than(&self, digest: u64) -> bool {
        let own = self.digest();
        digest != own && digest & ASKED == own & ASKED
    }

    /// Those of them that `filter` takes; all without one.
    pub fn filtered(self, filter: Option<Filter>) -> Self {
        Self { filter, ..self }
    }

    /// Says whether the filter takes an instance, whatever the view says of it.
    pub(super) fn filter_takes(&self, instance: &Instance) -> bool {
        let filter = self.filter.as_ref();
        filter.is_none_or(|filter| filter.takes(instance))
    }

    /// The service, if it has instances.
    pub fn service<'a>(&self, state: &'a State) -> Option<&'a Arc<Service>> {
        if self.is_broken() {
            return None;
        }
        state.services.get(self.prefix.strip_suffix(b"/")?)
    }
}

impl Selection<StateProjection> for Instances {
    type Item = Arc<Instance>;

    fn kind(&self) -> usize {
        Kind::Instance as usize
    }

    fn digest(&self) -> u64 {
        let view: &[u8] = match self.view {
            InstanceView::Serving => b"serving",
            InstanceView::All => b"all",
        };
        let filter = self.filter.as_ref();
        // No name holds a blank, so different selections have different texts.
        let filter = filter.map_or(String::new(), |filter| format!(" {filter}"));
        let asked = [b"instances ", view, b" ", &self.asked, filter.as_bytes()].concat();
        let asked = crate::domain::hash64(asked);
        let leads = match &self.route {
            Route::Own => return asked,
            Route::To(target) => crate::domain::hash64(format!("to {}", target.path())),
            Route::Broken(target) => crate::domain::hash64(format!("not to {}", target.path())),
        };
        asked & ASKED | leads & !ASKED
    }

    fn prefix(&self) -> Bytes {
        self.prefix.clone()
    }

    fn covers(&self, key: &[u8]) -> bool {
        !self.is_broken() && key.starts_with(&self.prefix)
    }

    fn select(&self, item: &Item) -> Option<Arc<Instance>> {
        let Item::Instance(instance) = item else {
            return None;
        };
        let viewed = self.view == InstanceView::All || instance.serving;
        (viewed && self.filter_takes(instance)).then(|| instance.clone())
    }

    fn remnant(&self, item: &Item) -> Option<Arc<Instance>> {
        match item {
            Item::Instance(instance) => Some(instance.clone()),
            _ => None,
        }
    }

    fn list<'a>(
        &self,
        state: &'a State,
        after: Option<&Bytes>,
    ) -> Box<dyn Iterator<Item = (Bytes, Item)> + Send + 'a> {
        if self.is_broken() {
            return Box::new(std::iter::empty());
        }
        let prefix = self.prefix.clone();
        Box::new(walk(&state.instances, prefix, after).map(|(path, i)| (path, Item::Instance(i))))
    }
}

// === impl Services ===

impl Services {
    /// The services of `namespace` whose names begin with `prefix`.
    pub fn of(namespace: &Namespace, prefix: &str) -> Self {
        Self {
            prefix: format!("{namespace}/{prefix}").into(),
        }
    }
}

impl Selection<StateProjection> for Services {
    type Item = Arc<Service>;

    fn kind(&self) -> usize {
        Kind::Service as usize
    }

    fn digest(&self) -> u64 {
        crate::domain::hash64([b"services ", self.prefix.as_ref()].concat())
    }

    fn prefix(&self) -> Bytes {
        self.prefix.clone()
    }

    fn covers(&self, key: &[u8]) -> bool {
        key.starts_with(&self.prefix)
    }

    fn select(&self, item: &Item) -> Option<Arc<Service>> {
        match item {
            Item::Service(service) => Some(service.clone()),
            _ => None,
        }
    }

    fn list<'a>(
        &self,
        state: &'a State,
        after: Option<&Bytes>,
    ) -> Box<dyn Iterator<Item = (Bytes, Item)> + Send + 'a> {
        let prefix = self.prefix.clone();
        Box::new(walk(&state.services, prefix, after).map(|(path, s)| (path, Item::Service(s))))
    }
}

/// [`State::under`] for a prefix that does not outlive the call.
pub(super) fn walk<'a, V: Clone + Send + Sync>(
    map: &'a imbl::OrdMap<Bytes, V>,
    prefix: Bytes,
    after: Option<&Bytes>,
) -> impl Iterator<Item = (Bytes, V)> + Send + use<'a, V> {
    use std::ops::Bound;
    let start = match after {
        Some(after) if *after >= prefix => Bound::Excluded(after.clone()),
        _ => Bound::Included(prefix.clone()),
    };
    map.range((start, Bound::Unbounded))
        .take_while(move |(path, _)| path.starts_with(&prefix))
        .map(|(path, value)| (path.clone(), value.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selections_that_differ_have_digests_that_differ() {
        let namespace = |text| Namespace::parse(text).unwrap();
        let service = |text| ServiceName::parse(text).unwrap();
        let filtered = |text| {
            Instances::of(&namespace("a"), &service("b"), InstanceView::All)
                .filtered(Some(Filter::parse(text).unwrap()))
        };
        let digests = [
            filtered("zone == a").digest(),
            filtered("zone == b").digest(),
            Instances::of(&namespace("a"), &service("b"), InstanceView::All).digest(),
            Instances::of(&namespace("a"), &service("b"), InstanceView::Serving).digest(),
            Instances::of(&namespace("a"), &service("c"), InstanceView::All).digest(),
            Services::of(&namespace("a"), "").digest(),
            Services::of(&namespace("a"), "b").digest(),
        ];
        let distinct: std::collections::BTreeSet<_> = digests.into_iter().collect();
        assert_eq!(distinct.len(), digests.len());
    }

    #[test]
    fn where_an_alias_leads_is_told_by_its_digest_and_so_is_what_was_asked_for() {
        let asked = |service| {
            let namespace = Namespace::parse("a").unwrap();
            Instances::of(
                &namespace,
                &ServiceName::parse(service).unwrap(),
                InstanceView::All,
            )
        };
        let led = |service, target| {
            let mut state = State::default();
            let target = ServiceKey::parse(target).unwrap();
            state.routes.insert("a/web".into(), Route::To(target));
            asked(service).routed(&state)
        };
        let (own, blue, green) = (asked("web"), led("web", "a/blue"), led("web", "a/green"));
        for (one, other) in [(&own, &blue), (&blue, &green), (&green, &own)] {
            assert!(one.leads_elsewhere_than(other.digest()));
            assert!(!one.leads_elsewhere_than(one.digest()));
        }
        assert!(!blue.leads_elsewhere_than(asked("blue").digest()));
        assert_eq!(led("db", "a/blue").digest(), asked("db").digest());
        assert!(blue.covers(b"a/blue/1") && !blue.covers(b"a/web/1"));
    }

    #[test]
    fn whatever_is_covered_begins_with_the_prefix_by_which_changes_are_found() {
        let namespace = Namespace::parse("a").unwrap();
        let service = ServiceName::parse("web").unwrap();
        let instances = Instances::of(&namespace, &service, InstanceView::All);
        assert!(instances.covers(b"a/web/1") && b"a/web/1".starts_with(&instances.prefix()));
        let services = Services::of(&namespace, "w");
        assert!(services.covers(b"a/web") && b"a/web".starts_with(&services.prefix()));
    }

    #[test]
    fn a_service_does_not_cover_the_instances_of_one_whose_name_is_longer() {
        let namespace = Namespace::parse("a").unwrap();
        let web = Instances::of(
            &namespace,
            &ServiceName::parse("web").unwrap(),
            InstanceView::All,
        );
        assert!(web.covers(b"a/web/1"));
        assert!(!web.covers(b"a/web-2/1"));
    }
}
