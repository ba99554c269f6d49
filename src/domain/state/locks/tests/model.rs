//! A queue as the state has it, beside what a watcher was told of it.

use super::*;

/// A store of one queue, and what a watcher made of what it was told.
pub(super) struct Model {
    pub(super) keys: Keyspace,
    pub(super) projection: StateProjection,
    pub(super) lock: QueuePath,
    pub(super) state: State,
    pub(super) revision: Revision,
    /// The era in which claims are made.
    pub(super) era: i64,
    pub(super) told: BTreeMap<Bytes, Arc<Claim>>,
    /// How many calls were told to have been taken up by others.
    pub(super) taken_up: usize,
    /// Who leads, if this is an election.
    pub(super) leader: Option<Arc<Claim>>,
}

impl Model {
    pub(super) fn new() -> Self {
        Self::of(QueueKind::Lock)
    }

    pub(super) fn of(kind: QueueKind) -> Self {
        let keys = Keyspace::new("test");
        Self {
            projection: StateProjection::new(keys.clone()),
            keys,
            lock: QueuePath::parse(kind, "default/l").unwrap(),
            state: State::default(),
            revision: 0,
            era: 7,
            told: BTreeMap::new(),
            taken_up: 0,
            leader: None,
        }
    }

    pub(super) fn queue(&self) -> Option<&Arc<LockQueue>> {
        self.state.queue(&self.lock)
    }

    pub(super) fn waiter(&self, session: SessionId) -> KeyValue {
        self.waiter_in(LockMode::Exclusive, session)
    }

    pub(super) fn waiter_in(&self, mode: LockMode, session: SessionId) -> KeyValue {
        let revision = self.revision + 1;
        let waiter = Waiter {
            key: self.keys.waiter(&self.lock, &session, "r"),
            session,
            client_id: Label::default(),
            request_id: "r".into(),
            owner: Label::default(),
            mode,
            era: self.era,
            attempt: 1,
            call: rand::random(),
            enqueue_time: SystemTime::UNIX_EPOCH,
            metadata: BTreeMap::new(),
            proclamation: Bytes::new(),
            holds: Vec::new(),
            address: String::new(),
            yield_request: None,
            delay: None,
            format: records::FORMAT,
            create_revision: revision,
            mod_revision: revision,
        };
        KeyValue {
            key: waiter.key.clone(),
            value: records::encode_waiter(&waiter),
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            lease: session.lease(),
        }
    }

    /// Applies one revision and returns how many changes were told.
    pub(super) fn apply(&mut self, events: &[Event]) -> usize {
        self.revision += 1;
        let changes = self
            .projection
            .apply(&mut self.state, self.revision, events);
        let mut told = 0;
        for change in &changes {
            if change.kind == Kind::Election as usize {
                self.elect(change);
                continue;
            }
            if change.kind == Kind::TakenUp as usize {
                self.taken_up += 1;
                continue;
            }
            told += 1;
            let before = self.told.remove(&change.key);
            match (&change.before, before) {
                (Some(Item::Claim(claim)), Some(before)) => {
                    assert!(claim.waiter.looks_like(&before.waiter));
                    assert_eq!(claim.held, before.held);
                }
                (None, None) => {}
                _ => panic!("told a change of something else"),
            }
            if let Some(Item::Claim(claim)) = &change.after {
                self.told.insert(change.key.clone(), claim.clone());
            }
        }
        self.check();
        told
    }

    pub(super) fn elect(&mut self, change: &Change<StateProjection>) {
        let claim = |item: &Option<Item>| match item {
            Some(Item::Leader(claim)) => Some(claim.waiter.create_revision),
            _ => None,
        };
        let known = self.leader.as_ref();
        let known = known.map(|leader| leader.waiter.create_revision);
        assert_eq!(claim(&change.before), known);
        assert_eq!(change.key, self.lock.path().as_bytes());
        self.leader = match &change.after {
            Some(Item::Leader(claim)) => Some(claim.clone()),
            _ => None,
        };
    }

    /// A record as the next revision writes it.
    pub(super) fn record(&self, key: Bytes, value: Bytes) -> Event {
        Event::Put(KeyValue {
            key,
            value,
            create_revision: self.revision + 1,
            mod_revision: self.revision + 1,
            version: 1,
            lease: 0,
        })
    }

    /// Begins another era, as the next revision writes it.
    pub(super) fn begin_era(&mut self, lost: bool) -> Event {
        self.era += 1;
        let epoch = Epoch {
            id: self.era.unsigned_abs(),
            era: self.era,
            claims_from: if lost { self.era } else { 0 },
            ..Epoch::default()
        };
        self.record(self.keys.epoch(), records::encode_epoch(&epoch))
    }

    pub(super) fn close(&self) -> Event {
        let ttl = Duration::from_secs(9);
        self.record(self.keys.closed(), records::encode_closed(&Closed { ttl }))
    }

    pub(super) fn gone(&self, key: Bytes) -> Event {
        Event::Delete {
            key,
            revision: self.revision + 1,
        }
    }

    pub(super) fn standing(&self, kv: &KeyValue) -> Standing {
        let place = records::waiter(kv).unwrap().place();
        self.queue()
            .map_or(Standing::Gone, |queue| queue.standing(&place))
    }

    /// What was told is what is there, in the same order, and the lock is held by the first and by
    /// whoever goes together with all before, unless locks are closed. Nobody behind what a claim
    /// left does.
    pub(super) fn check(&self) {
        let looks = |claim: &Arc<Claim>| (claim.waiter.create_revision, claim.held);
        let told: Vec<_> = self.told.values().map(looks).collect();
        let queue = self.queue();
        let there: Vec<_> = queue
            .iter()
            .flat_map(|queue| queue.claims.values().map(looks))
            .collect();
        assert_eq!(told, there);
        if self.lock.kind == QueueKind::Election {
            let holder = queue.and_then(|queue| queue.holder());
            assert_eq!(self.leader.as_ref().map(looks), holder.map(looks));
        }
        let claims = queue.iter().flat_map(|queue| queue.claims.values());
        let modes: Vec<_> = claims.map(|claim| claim.waiter.mode).collect();
        let left = queue.iter().flat_map(|queue| queue.orphans.values());
        let left = left.filter(|delay| delay.era >= self.state.epoch.claims_from);
        let delayed = left.map(|delay| delay.revision).min();
        for (index, (revision, held)) in there.iter().enumerate() {
            let open = self.state.closed.is_none() && delayed.is_none_or(|left| *revision < left);
            assert_eq!(*held, open && go_together(&modes[..=index]), "{modes:?}");
        }
        for claim in queue.iter().flat_map(|queue| queue.claims.values()) {
            let standing = queue.unwrap().standing(&claim.waiter.place());
            assert_eq!(matches!(standing, Standing::Held(_)), claim.held);
        }
    }
}

/// Says whether all of these can hold a lock at the same time: one alone, readers, or permits of
/// one total that are enough.
fn go_together(modes: &[LockMode]) -> bool {
    let permits: Vec<_> = modes.iter().filter_map(|mode| mode.permits()).collect();
    let taken: u32 = permits.iter().map(|permits| permits.count()).sum();
    let enough = permits
        .iter()
        .all(|permits| permits.total() == permits_total(modes) && taken <= permits.total());
    modes.len() == 1
        || modes.iter().all(|mode| *mode == LockMode::Shared)
        || (permits.len() == modes.len() && enough)
}

fn permits_total(modes: &[LockMode]) -> u32 {
    modes[0].permits().map_or(0, Permits::total)
}
