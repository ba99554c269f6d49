//! Did locks keep what they promise? For each lock, or election, in the order of the store:
//!
//! - whoever was told to hold it, by a call or a stream, had the oldest claim at that revision, or
//!   one that goes together with all older ones (a writer with nobody, readers with readers, permits
//!   while there are enough), so that holds are disjoint and follow the queue among those who are
//!   still in it;
//! - tokens rise from grant to grant of those that do not go together, none is granted to two, and
//!   each is that of its claim;
//! - each version of the counter counts one more than the one before, and was written under the
//!   token of one that held the lock at that moment;
//! - each increment that was acknowledged made exactly the version that was told, no other one made
//!   two, and what was refused, or made with a token known to be stale, made none. So the counter
//!   ends at the number of increments that were made.
//!
//! What streams say is judged in `streams`, delays in `delays`, and what clients believe in
//! `beliefs`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{
    beliefs::Beliefs,
    delays,
    history::{Event, News, Outcome},
    queue::{Queue, together},
    streams::Streams,
};

/// Below the era in a token: the revision at which its claim was made.
const REVISION: i64 = (1 << 40) - 1;

/// One broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub kind: Kind,
    pub lock: String,
    /// What is wrong, in a sentence.
    pub says: String,
}

/// Which promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Two held the lock at once.
    DoubleGrant,
    /// Somebody held it before it was its turn.
    Order,
    /// A token that did not rise, or that two had.
    Token,
    /// A grant of a claim that was not there.
    Invented,
    /// The counter does not count one more, or its versions do not.
    Count,
    /// It was counted without the lock.
    Unfenced,
    /// An increment that was acknowledged is not there, or not as it was told.
    Lost,
    /// One that was refused or stale is there, or one is there twice.
    Undead,
    /// A stream said what may not follow what it said before.
    Talk,
    /// A stream told another place, or other numbers, than there were.
    Place,
    /// The place of a stream whose link broke was given up too early.
    Kept,
    /// A delay was too short, or one was where there may be none, or none where there must be one.
    Delay,
    /// A session ended before it was said to.
    Life,
    /// Two believed to hold the lock at once, or one did when the store knew better.
    Belief,
}

/// Broken promises of one lock.
pub(super) type Found = Vec<(Kind, String)>;

/// What a history amounts to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// What clients were answered, all in all.
    pub operations: usize,
    pub grants: usize,
    /// Those of them that were told while somebody else held the lock too.
    pub together: usize,
    pub increments: usize,
    /// Increments of which clients do not know whether they were made.
    pub unknown: usize,
    pub stale: usize,
    /// Streams that were told that they hold a lock.
    pub held_by_streams: usize,
    /// How often a stream took the claim of another over, with its token.
    pub taken_over: usize,
    /// Claims that went with the end of their stream, before their client made sure of that.
    pub ended: usize,
    /// How often a lock was lost as a stream said.
    pub lost: usize,
    /// How often a holder died that delayed the next one.
    pub delays: usize,
}

/// What is known of one lock.
#[derive(Default)]
struct Lock<'a> {
    queue: Queue,
    /// The revision, the token, the client.
    grants: Vec<(i64, i64, usize)>,
    /// The revision, version, count, token and operation.
    counted: Vec<(i64, i64, i64, i64, u64)>,
    increments: Vec<&'a Event>,
    streams: Streams<'a>,
    beliefs: Beliefs,
    /// Tokens that clients gave up, as they know.
    freed: BTreeSet<i64>,
}

/// Checks a history.
pub fn check(events: &[Event]) -> Result<Summary, Vec<Violation>> {
    let mut locks: BTreeMap<&str, Lock<'_>> = BTreeMap::new();
    let mut summary = Summary::default();
    for event in events {
        match event {
            Event::Queued {
                revision,
                lock,
                token,
                mode,
                delay,
            } => {
                let queue = &mut locks.entry(lock).or_default().queue;
                queue.join(*token, *revision, *mode, *delay);
            }
            Event::Left {
                revision,
                lock,
                token,
                went,
            } => {
                let queue = &mut locks.entry(lock).or_default().queue;
                queue.leave(*token, *revision, *went);
            }
            Event::Over {
                revision,
                lock,
                token,
                at,
            } => {
                let queue = &mut locks.entry(lock).or_default().queue;
                queue.over(*token, *revision, *at);
            }
            Event::Counted {
                revision,
                lock,
                version,
                count,
                token,
                operation,
            } => {
                let counted = (*revision, *version, *count, *token, *operation);
                locks.entry(lock).or_default().counted.push(counted);
            }
            Event::Granted {
                client,
                lock,
                token,
                revision,
            } => {
                summary.operations += 1;
                summary.grants += 1;
                let grants = &mut locks.entry(lock).or_default().grants;
                grants.push((*revision, *token, *client));
            }
            Event::Released {
                lock, token, freed, ..
            } => {
                summary.operations += 1;
                let lock = locks.entry(lock).or_default();
                lock.freed
                    .extend(freed.is_some_and(|it| it).then_some(*token));
            }
            Event::Heard {
                client,
                lock,
                request,
                stream,
                at,
                news,
            } => {
                let lock = locks.entry(lock).or_default();
                if let News::Acquired {
                    token, revision, ..
                } = news
                {
                    summary.operations += 1;
                    summary.held_by_streams += 1;
                    lock.grants.push((*revision, *token, *client));
                }
                if let News::Lost { .. } = news {
                    summary.operations += 1;
                    summary.lost += 1;
                }
                lock.streams.hear((*client, *request), *stream, *at, news);
            }
            Event::Believed {
                client,
                lock,
                token,
                from,
                to,
            } => {
                let beliefs = &mut locks.entry(lock).or_default().beliefs;
                beliefs.add(*client, *token, *from, *to);
            }
            Event::Increment {
                lock,
                stale,
                outcome,
                ..
            } => {
                summary.operations += 1;
                summary.unknown += usize::from(*outcome == Outcome::Unknown);
                summary.stale += usize::from(*stale);
                locks.entry(lock).or_default().increments.push(event);
            }
        }
    }
    let mut violations = Vec::new();
    for (name, lock) in &mut locks {
        let mut found = Found::new();
        lock.check_claims(&mut found);
        summary.together += lock.check_grants(&mut found);
        summary.taken_over += lock.streams.check(&lock.queue, &mut found);
        for ended in lock.streams.ended(&lock.queue) {
            lock.freed.insert(ended.token);
            summary.ended += usize::from(ended.at_once);
        }
        let kept = lock.streams.left_alone();
        summary.delays += delays::check(&lock.queue, &lock.freed, &kept, &mut found);
        lock.beliefs.check(&lock.queue, &mut found);
        lock.check_counter(&mut found);
        lock.check_increments(&mut found);
        summary.increments += lock.counted.len();
        violations.extend(found.into_iter().map(|(kind, says)| Violation {
            kind,
            lock: (*name).to_owned(),
            says,
        }));
    }
    match violations.is_empty() {
        true => Ok(summary),
        false => Err(violations),
    }
}

// === impl Violation ===

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {}: {}", self.kind, self.lock, self.says)
    }
}

// === impl Lock ===

impl Lock<'_> {
    fn check_claims(&self, found: &mut Found) {
        for (token, claim) in self.queue.claims() {
            if token & REVISION != claim.from {
                let says = format!(
                    "token {token} is of a claim that was made at {}",
                    claim.from
                );
                found.push((Kind::Token, says));
            }
        }
    }

    /// Says how many were granted beside another one.
    fn check_grants(&mut self, found: &mut Found) -> usize {
        self.grants.sort_unstable();
        let mut holders: BTreeMap<i64, usize> = BTreeMap::new();
        let mut beside = 0;
        let mut last: Option<i64> = None;
        for (revision, token, client) in &self.grants {
            if let Some(other) = holders.insert(*token, *client) {
                if other != *client {
                    let says = format!("token {token} was granted to {other} and to {client}");
                    found.push((Kind::Token, says));
                } else if !self.queue.held(*token, *revision) {
                    let says = format!("{token} was granted again at {revision}, and did not hold");
                    found.push((Kind::Invented, says));
                }
                continue;
            }
            let Some(mode) = self.queue.mode(*token) else {
                let says = format!("{token} was granted at {revision}, and never was there");
                found.push((Kind::Invented, says));
                continue;
            };
            if !self.queue.was_there(*token, *revision) {
                let says = format!("{token} was granted at {revision}, when it was not there");
                found.push((Kind::Invented, says));
            } else if !self.queue.held(*token, *revision) {
                let before = self.queue.before(*token, *revision);
                let mut held: Vec<_> = before
                    .iter()
                    .filter(|(older, _)| holders.contains_key(older))
                    .map(|(_, mode)| *mode)
                    .collect();
                held.push(mode);
                let delayed = self.queue.delayed_by(*revision);
                let kind = match (together(&held), delayed) {
                    (true, Some(dead)) if dead < *token => Kind::Delay,
                    (true, _) => Kind::Order,
                    (false, _) => Kind::DoubleGrant,
                };
                let says = format!(
                    "{token} was granted at {revision}, behind {before:?}, delayed by {delayed:?}"
                );
                found.push((kind, says));
            } else {
                beside += usize::from(!self.queue.before(*token, *revision).is_empty());
            }
            let goes_with = |other| {
                self.queue
                    .mode(other)
                    .is_some_and(|it| together(&[it, mode]))
            };
            if let Some(last) = last.filter(|last| last >= token && !goes_with(*last)) {
                let says = format!("{token} was granted at {revision}, after {last}");
                found.push((Kind::Token, says));
            }
            last = Some(*token);
        }
        beside
    }

    fn check_counter(&mut self, found: &mut Found) {
        self.counted.sort_unstable();
        let mut before: Option<(i64, i64)> = None;
        let mut operations = BTreeSet::new();
        for (revision, version, count, token, operation) in &self.counted {
            let expected = before.map_or((1, 1), |(version, count)| (version + 1, count + 1));
            if (*version, *count) != expected {
                let says = format!("version {version} counts {count}, not {expected:?}");
                found.push((Kind::Count, says));
            }
            before = Some((*version, *count));
            if !self.queue.held(*token, *revision) {
                let says = format!("version {version} was written by {token}, which did not hold");
                found.push((Kind::Unfenced, says));
            }
            if !operations.insert(*operation) {
                let says = format!("operation {operation} was made twice");
                found.push((Kind::Undead, says));
            }
        }
    }

    fn check_increments(&self, found: &mut Found) {
        let made: BTreeMap<u64, i64> = self
            .counted
            .iter()
            .map(|(_, version, _, _, operation)| (*operation, *version))
            .collect();
        for event in &self.increments {
            let Event::Increment {
                operation,
                stale,
                outcome,
                ..
            } = event
            else {
                continue;
            };
            match (outcome, made.get(operation)) {
                (Outcome::Accepted(told), made) if made != Some(told) => {
                    found.push((Kind::Lost, format!("{event} made {made:?}")));
                }
                (Outcome::Refused, Some(version)) => {
                    found.push((Kind::Undead, format!("{event} made {version}")));
                }
                _ => {}
            }
            let accepted = matches!(outcome, Outcome::Accepted(_));
            if *stale && (made.contains_key(operation) || accepted) {
                let says = format!("{event} was not refused");
                found.push((Kind::Undead, says));
            }
        }
        let known = self.increments.iter().filter_map(|event| match event {
            Event::Increment { operation, .. } => Some(*operation),
            _ => None,
        });
        let known: BTreeSet<u64> = known.collect();
        for operation in made.keys().filter(|operation| !known.contains(operation)) {
            let says = format!("nobody asked for operation {operation}");
            found.push((Kind::Undead, says));
        }
    }
}
