//! One number for everything that is stored, by which damage shows: redb looks at the checksums of
//! its pages only when it has to repair a file.

use sha2::{Digest as _, Sha256};

/// The sum of the hashes of all records, so that a change of one costs no look at the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Digest(u64);

/// One record of a table.
pub(super) enum Record<'a> {
    Number(&'a str, i64),
    Key(&'a [u8], &'a [u8]),
    Lease(i64, u64),
}

// === impl Digest ===

impl Digest {
    /// As it was stored.
    pub(super) fn stored(number: i64) -> Self {
        Self(number.cast_unsigned())
    }

    /// To be stored.
    pub(super) fn number(self) -> i64 {
        self.0.cast_signed()
    }

    pub(super) fn add(&mut self, record: Record<'_>) {
        self.0 = self.0.wrapping_add(record.hash());
    }

    pub(super) fn remove(&mut self, record: Record<'_>) {
        self.0 = self.0.wrapping_sub(record.hash());
    }
}

// === impl Record ===

impl Record<'_> {
    /// The first 64 bits of SHA-256. Tables and lengths are told apart.
    fn hash(&self) -> u64 {
        let mut hash = Sha256::new();
        match self {
            Self::Number(name, number) => {
                hash.update([0]);
                hash.update(name);
                hash.update(number.to_le_bytes());
            }
            Self::Key(key, stored) => {
                hash.update([1]);
                hash.update((key.len() as u64).to_le_bytes());
                hash.update(key);
                hash.update(stored);
            }
            Self::Lease(id, seconds) => {
                hash.update([2]);
                hash.update(id.to_le_bytes());
                hash.update(seconds.to_le_bytes());
            }
        }
        let hash = hash.finalize();
        hash.iter()
            .take(8)
            .fold(0, |number, &byte| (number << 8) | u64::from(byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_removed_again_leaves_no_trace_and_the_order_does_not_matter() {
        let (mut one, mut other) = (Digest::default(), Digest::default());
        one.add(Record::Key(b"a", b"1"));
        one.add(Record::Lease(7, 5));
        one.add(Record::Number("revision", 3));
        one.remove(Record::Key(b"a", b"1"));
        other.add(Record::Number("revision", 3));
        other.add(Record::Lease(7, 5));
        assert_eq!(one, other);
        assert_eq!(Digest::stored(one.number()), one);
    }

    #[test]
    fn records_that_look_alike_are_told_apart() {
        let of = |record| {
            let mut digest = Digest::default();
            digest.add(record);
            digest
        };
        assert_ne!(of(Record::Key(b"ab", b"c")), of(Record::Key(b"a", b"bc")));
        assert_ne!(of(Record::Lease(1, 2)), of(Record::Lease(2, 1)));
    }
}
