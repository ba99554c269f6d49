//! The things that can be watched, of whatever kind.

use std::sync::Arc;

use crate::{
    domain::{
        barrier::{Barrier, Latch, LatchStands},
        config::ConfigHead,
        lock::{Claim, LISTED_HOLDERS, LockQueue},
        registry::{
            DrainAck, Findings, Instance, InstanceSpec, Operator, Service, ServiceSettings,
            Tombstone,
        },
        session::Session,
    },
    store::Revision,
};

/// The kinds of things that can be watched; each has a log of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Kind {
    /// [`Session`]
    Session,
    /// [`Instance`]
    Instance,
    /// [`Service`]
    Service,
    /// [`ConfigHead`]
    Config,
    /// [`Claim`]
    Lock,
    /// [`ServiceSettings`]
    Settings,
    /// [`DrainAck`]
    DrainAck,
    /// [`Findings`]
    Findings,
    /// [`Operator`]
    Operator,
    /// [`Claim`] on an election
    Candidate,
    /// The leaders of elections
    Election,
    /// A [`Claim`], whenever another call took it up: that others do not see
    TakenUp,
    /// [`Barrier`], in lists; of changes those that matter to who waits at it
    Barrier,
    /// [`Latch`], in lists; of changes that it opened, came or went
    Latch,
}

/// One thing that can be watched.
#[derive(Clone)]
pub enum Item {
    /// A session.
    Session(Arc<Session>),
    /// An instance.
    Instance(Arc<Instance>),
    /// A service.
    Service(Arc<Service>),
    /// A config item that is not deleted.
    Config(Arc<ConfigHead>),
    /// A lock that is held or an election, in lists.
    Lock(Arc<LockQueue>),
    /// A claim on a lock or an election, in watches.
    Claim(Arc<Claim>),
    /// The claim that leads an election; there is one at most.
    Leader(Arc<Claim>),
    /// What was set for a service.
    Settings(Arc<ServiceSettings>),
    /// What a replica acknowledged of a drain, and when.
    DrainAck(Arc<DrainAck>, Revision),
    /// An instance that was removed, in lists.
    Tombstone(Arc<Tombstone>),
    /// What was found of an instance.
    Findings(Arc<Findings>),
    /// What was decided about an instance.
    Operator(Arc<Operator>),
    /// A barrier, in lists.
    Barrier(Arc<Barrier>),
    /// A latch, in lists.
    Latch(Arc<Latch>),
    /// Something happened at a barrier that matters to those who wait there, and when. They look for
    /// themselves: a log that remembered all who waited would be large.
    Stirred(Revision),
    /// How a latch stands for those who wait for it.
    Stands(LatchStands),
    /// A service leads elsewhere now, and since when: it shows other instances, or none.
    Rerouted(Revision),
}

/// Why a thing disappeared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// An instance was deregistered.
    Deregistered,
    /// An instance was removed after its session's end and the grace, or a session expired.
    Expired,
    /// An instance went with its session, which was closed.
    SessionClosed,
    /// The thing exists but the watcher's filter no longer takes it.
    NoLongerMatching,
    /// A config item was deleted.
    Deleted,
    /// A service lost its last instance.
    Empty,
    /// A claim on a lock was given up.
    Released,
    /// A claim on a lock was taken by force.
    Forced,
    /// An instance was drained.
    Drained,
    /// An instance was removed because it stayed unhealthy.
    Unhealthy,
}

// === impl Item ===

impl Item {
    /// The revision at which what can be seen of it last changed.
    pub(super) fn visible_revision(&self) -> Revision {
        match self {
            Self::Session(session) => session.mod_revision,
            Self::Instance(instance) => instance.visible_revision,
            Self::Service(service) => service.visible_revision,
            Self::Config(head) => head.mod_revision,
            Self::Lock(queue) => queue.visible_revision,
            Self::Claim(claim) | Self::Leader(claim) => claim.visible_revision,
            Self::Settings(settings) => settings.mod_revision,
            Self::DrainAck(_, revision) | Self::Rerouted(revision) | Self::Stirred(revision) => {
                *revision
            }
            Self::Stands(stands) => stands.revision,
            Self::Tombstone(tombstone) => tombstone.record.mod_revision,
            Self::Findings(findings) => findings.mod_revision,
            Self::Operator(operator) => operator.mod_revision,
            Self::Barrier(barrier) => barrier.visible_revision,
            Self::Latch(latch) => latch.visible_revision(),
        }
    }

    /// The revision that created it.
    pub(super) fn create_revision(&self) -> Revision {
        match self {
            Self::Session(session) => session.create_revision,
            Self::Instance(instance) => instance.record.create_revision,
            Self::Service(service) => service.create_revision,
            Self::Config(head) => head.create_revision,
            Self::Lock(queue) => queue.visible_revision,
            Self::Claim(claim) | Self::Leader(claim) => claim.waiter.create_revision,
            Self::Settings(settings) => settings.create_revision,
            Self::DrainAck(_, revision) | Self::Rerouted(revision) | Self::Stirred(revision) => {
                *revision
            }
            Self::Stands(stands) => stands.revision,
            Self::Tombstone(tombstone) => tombstone.record.create_revision,
            Self::Findings(findings) => findings.mod_revision,
            Self::Operator(operator) => operator.mod_revision,
            Self::Barrier(barrier) => barrier.visible_revision,
            Self::Latch(latch) => latch.visible_revision(),
        }
    }

    /// Roughly how many bytes it takes on the wire.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Session(session) => 128 + map_weight(&session.metadata),
            Self::Instance(instance) => spec_weight(instance.spec()),
            Self::Service(service) => 32 + service.path.len(),
            Self::Config(head) => {
                200 + head.current.body.content.len() + map_weight(&head.current.body.labels)
            }
            // In lists, which show who holds it.
            Self::Lock(queue) => {
                let holders = queue.holders().take(LISTED_HOLDERS);
                64 + holders.map(|claim| claim_weight(claim)).sum::<usize>()
            }
            Self::Claim(claim) | Self::Leader(claim) => claim_weight(claim),
            Self::Settings(settings) => {
                200 + settings.checks.len() * 64 + map_weight(&settings.labels)
            }
            Self::Rerouted(_) | Self::Stirred(_) | Self::Stands(_) => 0,
            Self::DrainAck(ack, _) => 32 + ack.laggards.len() * 48,
            Self::Tombstone(tombstone) => {
                spec_weight(&tombstone.record.spec) + tombstone.detail.len()
            }
            Self::Findings(findings) => 48 + findings.findings.len() * 96,
            Self::Barrier(_) => 128,
            Self::Latch(_) => 192,
            Self::Operator(operator) => 128 + map_weight(&operator.overlay.metadata),
        }
    }
}

fn claim_weight(claim: &Claim) -> usize {
    let waiter = &claim.waiter;
    let named = waiter.owner.as_str().len() + waiter.client_id.as_str().len();
    96 + named + map_weight(&waiter.metadata) + waiter.proclamation.len()
}

fn spec_weight(spec: &InstanceSpec) -> usize {
    200 + spec.ports.len() * 24 + map_weight(&spec.metadata)
}

fn map_weight(map: &std::collections::BTreeMap<String, String>) -> usize {
    map.iter()
        .map(|(key, value)| key.len() + value.len() + 6)
        .sum()
}
