//! The frames of HTTP/2.

/// Bytes of a frame's head.
pub(super) const HEAD: usize = 9;

/// The longest payload that a peer may send: the default, which this client leaves as it is.
pub(super) const MAX_PAYLOAD: usize = 16_384;

/// Kinds of frames.
pub(super) mod kind {
    pub(in super::super) const DATA: u8 = 0;
    pub(in super::super) const HEADERS: u8 = 1;
    pub(in super::super) const RST_STREAM: u8 = 3;
    pub(in super::super) const SETTINGS: u8 = 4;
    pub(in super::super) const PING: u8 = 6;
    pub(in super::super) const GOAWAY: u8 = 7;
    pub(in super::super) const WINDOW_UPDATE: u8 = 8;
}

/// Flags of frames.
pub(super) mod flag {
    pub(in super::super) const ACK: u8 = 0x1;
    pub(in super::super) const END_STREAM: u8 = 0x1;
    pub(in super::super) const END_HEADERS: u8 = 0x4;
    pub(in super::super) const PADDED: u8 = 0x8;
}

/// What a frame says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Bytes that follow.
    pub(super) length: usize,
    /// One of [`kind`].
    pub(super) kind: u8,
    /// Some of [`flag`].
    pub(super) flags: u8,
    /// Zero is the connection.
    pub(super) stream: u32,
}

// === impl Head ===

impl Head {
    /// Reads a head.
    pub(super) fn parse(bytes: &[u8; HEAD]) -> Self {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = *bytes;
        Self {
            length: u32::from_be_bytes([0, l0, l1, l2]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
        }
    }

    /// Whether a flag is set.
    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Appends a frame.
pub(super) fn write(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let [_, l0, l1, l2] = (payload.len() as u32).to_be_bytes();
    out.extend_from_slice(&[l0, l1, l2, kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written() {
        let mut out = Vec::new();
        write(
            &mut out,
            kind::DATA,
            flag::END_STREAM,
            0x0102_0305,
            &[7; 300],
        );
        let head = Head::parse(out.first_chunk().unwrap());
        assert_eq!(
            head,
            Head {
                length: 300,
                kind: kind::DATA,
                flags: flag::END_STREAM,
                stream: 0x0102_0305
            }
        );
        assert_eq!(out.len(), HEAD + 300);
    }
}
