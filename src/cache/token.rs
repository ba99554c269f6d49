//! The resume token: where a watch stands, good on any replica.

use crate::store::Revision;

/// Where a watch of one selection stands in one epoch. Opaque to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// The epoch the revision belongs to.
    pub epoch: u64,
    /// The selection it was given out for.
    pub digest: u64,
    /// Everything up to this revision was delivered.
    pub revision: Revision,
}

const VERSION: u8 = 1;

// === impl Token ===

impl Token {
    /// How many bytes a token has on the wire.
    pub const LENGTH: usize = 25;

    /// Writes the token for the wire.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::LENGTH);
        bytes.push(VERSION);
        bytes.extend(self.epoch.to_be_bytes());
        bytes.extend(self.digest.to_be_bytes());
        bytes.extend(self.revision.to_be_bytes());
        bytes
    }

    /// Reads a token from the wire; `None` if it is not one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != Self::LENGTH || bytes[0] != VERSION {
            return None;
        }
        let number = |at: usize| -> Option<[u8; 8]> { bytes.get(at..at + 8)?.try_into().ok() };
        let revision = Revision::from_be_bytes(number(17)?);
        (revision >= 0).then_some(Self {
            epoch: u64::from_be_bytes(number(1)?),
            digest: u64::from_be_bytes(number(9)?),
            revision,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_the_wire_and_a_damaged_one_does_not() {
        let token = Token {
            epoch: 7,
            digest: u64::MAX,
            revision: 1 << 40,
        };
        let bytes = token.encode();
        assert_eq!(Token::decode(&bytes), Some(token));
        assert_eq!(Token::decode(&bytes[1..]), None);
        assert_eq!(Token::decode(b""), None);
    }
}
