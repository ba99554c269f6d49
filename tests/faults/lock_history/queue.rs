//! The queue of a lock, as the store had it: who was in it when, who held the lock together, and
//! what delayed it.

use std::collections::BTreeMap;

use super::history::{Micros, Mode, Went};

/// All claims there ever were on a lock.
#[derive(Default)]
pub(super) struct Queue {
    /// By token.
    claims: BTreeMap<i64, Claim>,
}

/// A claim.
#[derive(Clone, Copy)]
pub(super) struct Claim {
    pub(super) mode: Mode,
    /// When it was made and when it was gone.
    pub(super) from: i64,
    pub(super) to: Option<i64>,
    /// How it went.
    pub(super) went: Option<Went>,
    /// For how long it delays the next one if it dies.
    pub(super) delay: Option<Micros>,
    /// When what would delay the next one was gone.
    pub(super) over: Option<(i64, Micros)>,
}

/// Who stood in the queue at a revision, by token, the oldest first.
#[derive(Default)]
pub(super) struct Standing {
    pub(super) holders: Vec<(i64, Mode)>,
    pub(super) waiters: Vec<i64>,
}

// === impl Queue ===

impl Queue {
    pub(super) fn join(&mut self, token: i64, revision: i64, mode: Mode, delay: Option<Micros>) {
        let claim = Claim {
            mode,
            from: revision,
            to: None,
            went: None,
            delay,
            over: None,
        };
        self.claims.insert(token, claim);
    }

    pub(super) fn leave(&mut self, token: i64, revision: i64, went: Option<Went>) {
        if let Some(claim) = self.claims.get_mut(&token) {
            claim.to = Some(revision);
            claim.went = went;
        }
    }

    pub(super) fn over(&mut self, token: i64, revision: i64, at: Micros) {
        if let Some(claim) = self.claims.get_mut(&token) {
            claim.over = Some((revision, at));
        }
    }

    /// By token, the oldest first.
    pub(super) fn claims(&self) -> impl Iterator<Item = (i64, Claim)> {
        self.claims.iter().map(|(token, claim)| (*token, *claim))
    }

    pub(super) fn claim(&self, token: i64) -> Option<Claim> {
        self.claims.get(&token).copied()
    }

    pub(super) fn mode(&self, token: i64) -> Option<Mode> {
        Some(self.claims.get(&token)?.mode)
    }

    pub(super) fn was_there(&self, token: i64, revision: i64) -> bool {
        let claim = self.claims.get(&token);
        claim.is_some_and(|claim| claim.was_there(revision))
    }

    /// Whoever was in the queue at a revision before a token, the oldest first.
    pub(super) fn before(&self, token: i64, revision: i64) -> Vec<(i64, Mode)> {
        let older = self.claims.range(..token);
        older
            .filter(|(_, claim)| claim.was_there(revision))
            .map(|(token, claim)| (*token, claim.mode))
            .collect()
    }

    /// What delayed the lock at a revision for all that were claimed after it: a claim that died
    /// before.
    pub(super) fn delayed_by(&self, revision: i64) -> Option<i64> {
        let mut claims = self.claims();
        let delays = claims.find(|(_, claim)| claim.delays(revision));
        delays.map(|(token, _)| token)
    }

    /// Who held the lock at a revision, and who waited for it: whoever was there holds it if all
    /// before it do and leave room for it.
    pub(super) fn at(&self, revision: i64) -> Standing {
        let delayed = self.delayed_by(revision).unwrap_or(i64::MAX);
        let mut standing = Standing::default();
        let mut modes = Vec::new();
        for (token, claim) in self.claims().filter(|(_, it)| it.was_there(revision)) {
            modes.push(claim.mode);
            let alone = standing.waiters.is_empty() && token < delayed;
            if alone && together(&modes) {
                standing.holders.push((token, claim.mode));
            } else {
                standing.waiters.push(token);
            }
        }
        standing
    }

    /// Says whether a claim held the lock at a revision.
    pub(super) fn held(&self, token: i64, revision: i64) -> bool {
        let holders = self.at(revision).holders;
        holders.iter().any(|(holder, _)| *holder == token)
    }
}

// === impl Claim ===

impl Claim {
    fn was_there(&self, revision: i64) -> bool {
        self.from <= revision && self.to.is_none_or(|to| revision < to)
    }

    /// Says whether it was gone at a revision, and what it left was there.
    fn delays(&self, revision: i64) -> bool {
        self.delay.is_some()
            && self.to.is_some_and(|to| to <= revision)
            && self.over.is_none_or(|(over, _)| revision < over)
    }
}

/// Says whether these may hold a lock at once: a writer with nobody, readers with readers, permits
/// of one total while there are enough.
pub(super) fn together(modes: &[Mode]) -> bool {
    let [first, rest @ ..] = modes else {
        return true;
    };
    match *first {
        Mode::Exclusive => rest.is_empty(),
        Mode::Shared => rest.iter().all(|mode| *mode == Mode::Shared),
        Mode::Permits { count, total } => {
            let counts: Option<u32> = rest
                .iter()
                .map(|mode| match *mode {
                    Mode::Permits { count, total: same } if same == total => Some(count),
                    _ => None,
                })
                .sum();
            counts.is_some_and(|others| count + others <= total)
        }
    }
}
