//! The id of a session: made here, a secret that whoever knows it may act with.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use rand::Rng as _;

use crate::store::LeaseId;

/// How many of a lease's 63 bits tell the millisecond. The others are random, so that replicas do
/// not meet; they start over every 17 minutes, as only the order of a moment matters.
const CLOCK_BITS: u32 = 20;
const RANDOM_BITS: u32 = 63 - CLOCK_BITS;

/// How far a lease is at most from the one before it in the same millisecond: so little that a
/// storm stays within the random bits.
const MAX_STEP: u64 = 1 << 24;

/// 128 bits, written as 32 hexadecimal digits. The first 20 may tell when it was made, all others
/// are random. `Debug` hides it, because it is a bearer secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u128);

/// Makes ids whose leases rise. etcd keeps the leases of the last moment sorted, and sorts all of
/// them again for each one that does not come last.
#[derive(Default)]
pub struct SessionIds {
    last: Mutex<u64>,
}

// === impl SessionIds ===

impl SessionIds {
    /// Makes a new id at about `now`.
    pub fn next(&self, now: SystemTime) -> SessionId {
        let milliseconds = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as u64);
        let clock = (milliseconds % (1 << CLOCK_BITS)) << RANDOM_BITS;
        let mut random = rand::rng();
        let fresh = clock | random.random_range(1..1 << RANDOM_BITS);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // More than a second before the last one: the clock has started over.
        let lease = match last.checked_sub(fresh) {
            Some(behind) if behind >> RANDOM_BITS < 1000 => {
                *last + random.random_range(1..=MAX_STEP)
            }
            _ => fresh,
        };
        let lease = if lease >> 63 == 0 { lease } else { fresh };
        *last = lease;
        drop(last);
        let secret: u128 = random.random_range(0..1 << 65);
        SessionId((u128::from(lease) << 65) | secret)
    }
}

// === impl SessionId ===

impl SessionId {
    /// Makes a new one.
    pub fn random() -> Self {
        loop {
            let id = Self(rand::random());
            if id.lease() > 0 {
                return id;
            }
        }
    }

    /// Reads the 32 digits; `None` if they are not that.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 32
            && text
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !digits {
            return None;
        }
        // In halves: arithmetic of 128 bits costs several times that of 64.
        let (high, low) = text.split_at(16);
        let half = |text| u64::from_str_radix(text, 16).ok().map(u128::from);
        let id = Self((half(high)? << 64) | half(low)?);
        (id.lease() > 0).then_some(id)
    }

    /// The lease that carries the session: the first 63 bits, so that whoever holds the one can
    /// find the other, and a lost answer to a grant can be repeated.
    pub fn lease(&self) -> LeaseId {
        (self.0 >> 65) as LeaseId
    }

    /// The secret, for the owner and the store.
    pub fn to_text(self) -> String {
        let (high, low) = ((self.0 >> 64) as u64, self.0 as u64);
        super::hex(&[high, low])
    }

    /// A short name that identifies the session to others without giving it away: a hash.
    pub fn fingerprint(&self) -> String {
        format!("{:016x}", self.hash())
    }

    /// The fingerprint as a number.
    pub fn hash(&self) -> u64 {
        super::hash64(self.0.to_be_bytes())
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "session:{}", self.fingerprint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_rise_within_a_moment_and_replicas_do_not_meet() {
        let now = SystemTime::now();
        let (here, there) = (SessionIds::default(), SessionIds::default());
        let leases: Vec<_> = (0..1000).map(|_| here.next(now).lease()).collect();
        assert!(leases.is_sorted() && leases[0] > 0);
        assert!(!leases.contains(&there.next(now).lease()));
        assert_ne!(here.next(now).0 as u64, here.next(now).0 as u64);
    }

    #[test]
    fn an_id_survives_its_text_and_is_not_shown_by_debug() {
        let id = SessionId::random();
        assert_eq!(SessionId::parse(&id.to_text()), Some(id));
        assert!(!format!("{id:?}").contains(&id.to_text()));
        assert!(id.lease() > 0);
        for bad in ["", "x", &"0".repeat(32), &"F".repeat(32), &"1".repeat(33)] {
            assert_eq!(SessionId::parse(bad), None);
        }
    }
}
