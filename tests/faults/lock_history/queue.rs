//! The queue of a lock, as the store had it: who was in it when, and who held the lock together.

use std::collections::BTreeMap;

use super::history::Mode;

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
    to: Option<i64>,
}

// === impl Queue ===

impl Queue {
    pub(super) fn join(&mut self, token: i64, revision: i64, mode: Mode) {
        let claim = Claim {
            mode,
            from: revision,
            to: None,
        };
        self.claims.insert(token, claim);
    }

    pub(super) fn leave(&mut self, token: i64, revision: i64) {
        if let Some(claim) = self.claims.get_mut(&token) {
            claim.to = Some(revision);
        }
    }

    /// By token, the oldest first.
    pub(super) fn claims(&self) -> impl Iterator<Item = (i64, Claim)> {
        self.claims.iter().map(|(token, claim)| (*token, *claim))
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

    /// Says whether a claim held the lock at a revision: it was there, and whoever was before it
    /// held the lock too and left room for it.
    pub(super) fn held(&self, token: i64, revision: i64) -> bool {
        let Some(mode) = self.mode(token).filter(|_| self.was_there(token, revision)) else {
            return false;
        };
        let mut all: Vec<_> = self.before(token, revision);
        all.push((token, mode));
        (1..=all.len()).all(|some| {
            let modes: Vec<_> = all[..some].iter().map(|(_, mode)| *mode).collect();
            together(&modes)
        })
    }
}

// === impl Claim ===

impl Claim {
    fn was_there(&self, revision: i64) -> bool {
        self.from <= revision && self.to.is_none_or(|to| revision < to)
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
