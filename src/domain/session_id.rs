//! The id of a session: random, made here, a secret that whoever knows it may act with.

use std::fmt;

use crate::store::LeaseId;

/// 128 random bits, written as 32 hexadecimal digits. `Debug` hides it, because it is a bearer
/// secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u128);

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
