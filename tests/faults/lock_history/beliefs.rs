//! What clients believe: from when one was told that it holds a lock until it lets go, hears that it
//! lost it or can no longer be certain, nobody else believes to hold it too, except together with
//! it, and its claim is there. That is more than the order of the store says, which no client sees:
//! it makes sure that whoever is cut off knows in time.

use super::{
    check::{Found, Kind},
    history::Micros,
    queue::{Queue, together},
};

/// What was believed of one lock.
#[derive(Default)]
pub(super) struct Beliefs(Vec<Belief>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Belief {
    from: Micros,
    to: Micros,
    token: i64,
    client: usize,
}

// === impl Beliefs ===

impl Beliefs {
    pub(super) fn add(&mut self, client: usize, token: i64, from: Micros, to: Micros) {
        self.0.push(Belief {
            from,
            to,
            token,
            client,
        });
    }

    pub(super) fn check(&mut self, queue: &Queue, found: &mut Found) {
        self.0.sort_unstable();
        let mut still: Vec<Belief> = Vec::new();
        for belief in &self.0 {
            still.retain(|other| other.to > belief.from && other.token != belief.token);
            let all = still.iter().chain([belief]);
            let modes: Vec<_> = all.filter_map(|it| queue.mode(it.token)).collect();
            if belief.to > belief.from && !together(&modes) {
                found.push((Kind::Belief, format!("{belief:?} beside {still:?}")));
            }
            let went = queue.claim(belief.token).and_then(|claim| claim.went);
            if let Some(went) = went.filter(|went| went.at < belief.to) {
                found.push((
                    Kind::Belief,
                    format!("{belief:?}, and it went at {}", went.at),
                ));
            }
            if belief.to > belief.from {
                still.push(*belief);
            }
        }
    }
}
