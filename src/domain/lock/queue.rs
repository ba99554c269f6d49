//! What a lock or an election is: the queue of those who want it, the first of whom holds it.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use imbl::OrdMap;

use crate::{
    domain::{keyspace::QueuePath, names::Label, session_id::SessionId},
    store::Revision,
};

use super::{
    delay::LockDelay,
    mode::{Admission, LockMode},
    oversight::YieldRequest,
    reentrant::Hold,
};

/// How far the era stands above the create-revision in a fencing token.
const ERA_SHIFT: u32 = 40;
/// How many holders of a lock lists show.
pub const LISTED_HOLDERS: usize = 16;
/// The largest era whose tokens are positive.
pub const MAX_ERA: i64 = (1 << (63 - ERA_SHIFT)) - 1;

/// A lock or an election that somebody wants. A free one is no queue at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockQueue {
    /// Which one.
    pub path: QueuePath,
    /// Who wants it, in order. The first one holds the lock, perhaps together with the
    /// next ones, unless locks are closed.
    pub claims: OrdMap<Place, Arc<Claim>>,
    /// What stands beside claims, by the revision at which they were made.
    pub delays: OrdMap<Revision, Arc<LockDelay>>,
    /// What claims left behind: nobody who stands behind one of these is granted anything.
    pub orphans: OrdMap<Revision, Arc<LockDelay>>,
    /// The revision at which what can be seen of the queue last changed.
    pub visible_revision: Revision,
}

/// Where a claim stands: earlier revisions come first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The revision at which it queued.
    pub create_revision: Revision,
    /// Its key in the store. Decides nothing: no two places of a lock have the same revision.
    pub key: Bytes,
}

/// A place in the queue, as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// In the queue of which lock or election.
    pub lock: QueuePath,
    /// Who stands there.
    pub waiter: Waiter,
    /// True if it holds the lock.
    pub held: bool,
    /// The revision at which what can be seen of it last changed.
    pub visible_revision: Revision,
}

/// What is stored of a place in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiter {
    /// The whole key of the place in the store.
    pub key: Bytes,
    /// Whose it is.
    pub session: SessionId,
    /// The client id of that session.
    pub client_id: Label,
    /// The request that queued: with the session, the identity of the place.
    pub request_id: String,
    /// Who it is, in the client's words.
    pub owner: Label,
    /// What it wants.
    pub mode: LockMode,
    /// The era in which it queued.
    pub era: i64,
    /// How often the call was taken up again, by this replica or another.
    pub attempt: i64,
    /// Names the call that wrote the record last.
    pub call: u64,
    /// When it queued.
    pub enqueue_time: SystemTime,
    /// Anything the client says.
    pub metadata: BTreeMap<String, String>,
    /// What it proclaims once it leads; nothing for a lock.
    pub proclamation: Bytes,
    /// The requests that hold it for a reentrant owner; none for all others.
    pub holds: Vec<Hold>,
    /// Where the call came from that queued; empty: not known.
    pub address: String,
    /// What it is asked, once it holds the lock.
    pub yield_request: Option<YieldRequest>,
    /// For how long nobody is granted the lock after it, should its session die.
    pub delay: Option<Duration>,
    /// The format it was written in.
    pub format: u32,
    /// The revision at which it queued: its place.
    pub create_revision: Revision,
    /// The revision that last wrote it.
    pub mod_revision: Revision,
}

/// Nobody is granted a lock for the moment: the store lost data, and whoever held a lock before may
/// not know it yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Closed {
    /// For how long after the loss: the time to live of the lease that the mark hangs on. Zero if
    /// the mark cannot be read.
    pub ttl: Duration,
}

/// How a place stands at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It holds the lock.
    Held(Arc<Claim>),
    /// Somebody is before it with whom it does not go together, or locks are closed.
    Waiting,
    /// It is no longer there.
    Gone,
}

/// The fencing token of a claim.
pub(in crate::domain) fn token(era: i64, create_revision: Revision) -> i64 {
    (era << ERA_SHIFT) + create_revision
}

/// An owner in words fit for strangers.
pub(super) fn describe(owner: &Label, client_id: &Label) -> String {
    match (owner.is_empty(), client_id.is_empty()) {
        (false, false) => format!("{owner} ({client_id})"),
        (false, true) => owner.to_string(),
        (true, false) => client_id.to_string(),
        (true, true) => "another".into(),
    }
}

// === impl LockQueue ===

impl LockQueue {
    /// A queue nobody is in yet.
    pub fn new(path: QueuePath) -> Self {
        Self {
            path,
            claims: OrdMap::new(),
            delays: OrdMap::new(),
            orphans: OrdMap::new(),
            visible_revision: 0,
        }
    }

    /// Says whether there is nothing of it.
    pub fn is_empty(&self) -> bool {
        self.claims.is_empty() && self.orphans.is_empty()
    }

    /// Puts what stands beside a claim, or what is left of one.
    pub fn put_delay(&mut self, delay: LockDelay) {
        self.remove_delay(&delay.claim);
        let revision = delay.revision;
        match self.claims.contains_key(&delay.place()) {
            true => self.delays.insert(revision, Arc::new(delay)),
            false => self.orphans.insert(revision, Arc::new(delay)),
        };
    }

    /// Takes away what stands beside a claim, or what is left of it.
    pub fn remove_delay(&mut self, claim: &[u8]) {
        for delays in [&mut self.delays, &mut self.orphans] {
            let found = delays.iter().find(|(_, delay)| delay.claim == claim);
            if let Some(revision) = found.map(|(revision, _)| *revision) {
                delays.remove(&revision);
            }
        }
    }

    /// A claim is there: what was left of it stands beside it.
    pub fn joined(&mut self, place: &Place) {
        if let Some(delay) = self.orphans.remove(&place.create_revision) {
            self.delays.insert(place.create_revision, delay);
        }
    }

    /// A claim is gone, and `held` the lock or not: what stood beside it is left.
    pub fn left(&mut self, place: &Place, held: bool) {
        if let Some(delay) = self.delays.remove(&place.create_revision) {
            let mut delay = LockDelay::clone(&delay);
            delay.held = held;
            self.orphans.insert(delay.revision, Arc::new(delay));
        }
    }

    /// What delays the lock, if it is of an era that counts: of several the first. Whether its claim
    /// held the lock does not matter here, because not all replicas know it: of one that waited it is
    /// taken away at once.
    pub fn delay(&self, claims_from: i64) -> Option<&Arc<LockDelay>> {
        let mut orphans = self.orphans.values();
        orphans.find(|delay| delay.era >= claims_from)
    }

    /// What is left of the claim with the token.
    pub fn find_orphan(&self, token: i64) -> Option<&Arc<LockDelay>> {
        let mut orphans = self.orphans.values();
        orphans.find(|delay| delay.fencing_token() == token)
    }

    /// Who came first.
    pub fn first(&self) -> Option<&Arc<Claim>> {
        self.claims.get_min().map(|(_, claim)| claim)
    }

    /// Who holds the lock; the first of them, if several do.
    pub fn holder(&self) -> Option<&Arc<Claim>> {
        self.first().filter(|first| first.held)
    }

    /// All who hold the lock, in order.
    pub fn holders(&self) -> impl Iterator<Item = &Arc<Claim>> {
        self.claims.values().take_while(|claim| claim.held)
    }

    /// Says whether whoever comes next would hold the lock at once.
    pub fn admits(&self, mode: LockMode, claims_from: i64) -> bool {
        let mut admission = Admission::default();
        let all_in = self
            .claims
            .values()
            .all(|claim| claim.held && admission.admits(claim.waiter.mode));
        all_in && self.delay(claims_from).is_none() && admission.admits(mode)
    }

    /// How many wait for it.
    pub fn waiting(&self) -> usize {
        self.claims.len() - self.holders().count()
    }

    /// How many wait up to the place, itself included.
    pub fn position(&self, place: &Place) -> usize {
        let before = self.claims.range(..=place.clone());
        before.filter(|(_, claim)| !claim.held).count()
    }

    /// Who stands at the key.
    pub fn find(&self, key: &[u8]) -> Option<&Arc<Claim>> {
        self.claims.values().find(|claim| claim.waiter.key == key)
    }

    /// Who has the token.
    pub fn find_token(&self, token: i64) -> Option<&Arc<Claim>> {
        self.claims
            .values()
            .find(|claim| claim.waiter.fencing_token() == token)
    }

    /// How the place stands. Only the queue of a revision that has reached the place can say; from
    /// then on an older queue is as good as the newest, because nobody ever steps in before it.
    pub fn standing(&self, place: &Place) -> Standing {
        match self.claims.get(place) {
            None => Standing::Gone,
            Some(claim) if claim.held => Standing::Held(claim.clone()),
            Some(_) => Standing::Waiting,
        }
    }
}

// === impl Claim ===

impl Claim {
    /// A claim that holds its lock.
    pub fn held(lock: QueuePath, waiter: Waiter) -> Self {
        Self {
            lock,
            held: true,
            visible_revision: waiter.mod_revision,
            waiter,
        }
    }

    /// The owner in words fit for strangers.
    pub fn describe(&self) -> String {
        let Waiter {
            owner,
            client_id,
            session,
            ..
        } = &self.waiter;
        match owner.is_empty() && client_id.is_empty() {
            false => describe(owner, client_id),
            true => format!("session {}", session.fingerprint()),
        }
    }
}

// === impl Waiter ===

impl Waiter {
    /// Someone of whom nothing can be read but where it stands. It counts as everybody else: to
    /// overlook it would let two hold the lock.
    pub fn unreadable(
        key: Bytes,
        session: SessionId,
        create_revision: Revision,
        mod_revision: Revision,
    ) -> Self {
        Self {
            key,
            session,
            client_id: Label::default(),
            request_id: String::new(),
            owner: Label::default(),
            mode: LockMode::Exclusive,
            era: 0,
            attempt: 0,
            call: 0,
            enqueue_time: SystemTime::UNIX_EPOCH,
            metadata: BTreeMap::new(),
            proclamation: Bytes::new(),
            holds: Vec::new(),
            address: String::new(),
            yield_request: None,
            delay: None,
            format: u32::MAX,
            create_revision,
            mod_revision,
        }
    }

    /// Where it stands.
    pub fn place(&self) -> Place {
        Place {
            create_revision: self.create_revision,
            key: self.key.clone(),
        }
    }

    /// The fencing token: grows with every new holder, data resets included, because the era
    /// stands above the revision.
    pub fn fencing_token(&self) -> i64 {
        token(self.era, self.create_revision)
    }

    /// Says whether others see the same in both.
    pub fn looks_like(&self, other: &Self) -> bool {
        self.create_revision == other.create_revision
            && self.era == other.era
            && self.owner == other.owner
            && self.client_id == other.client_id
            && self.mode == other.mode
            && self.holds.len() == other.holds.len()
            && self.enqueue_time == other.enqueue_time
            && self.metadata == other.metadata
            && self.proclamation == other.proclamation
            && self.delay == other.delay
            && self.yield_request == other.yield_request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_grow_with_the_era_even_when_revisions_fall() {
        let waiter = |era, create_revision| Waiter {
            era,
            ..Waiter::unreadable(Bytes::new(), SessionId::random(), create_revision, 0)
        };
        let before = waiter(50_000, 1 << 39).fencing_token();
        let after = waiter(50_001, 3).fencing_token();
        assert!(before < after);
        assert!(waiter(MAX_ERA, (1 << ERA_SHIFT) - 1).fencing_token() > 0);
    }
}
