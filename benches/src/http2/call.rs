//! Requests, encoded once and sent often.

use super::frame::{self, HEAD, flag, kind};

/// Indexes of the static table of HPACK, as a field of that name and value.
const METHOD_POST: u8 = 0x83;
const SCHEME_HTTP: u8 = 0x86;

/// Whether more requests follow the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Requests {
    /// It is the only one, as in unary and server-streaming calls.
    One,
    /// The call stays open for more.
    Many,
}

/// The frames of a call. Only the number of its stream is missing.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    frames: Vec<u8>,
    /// Where the DATA frame begins.
    data: usize,
}

// === impl Call ===

impl Call {
    /// A call of `path` (`/package.Service/Method`) with a message of at most 16 000 bytes, which
    /// is what fits into one frame.
    pub(crate) fn new(path: &str, message: &[u8], requests: Requests) -> Self {
        let mut frames = Vec::new();
        frame::write(
            &mut frames,
            kind::HEADERS,
            flag::END_HEADERS,
            0,
            &headers(path),
        );
        let data = frames.len();
        let flags = match requests {
            Requests::One => flag::END_STREAM,
            Requests::Many => 0,
        };
        frame::write(&mut frames, kind::DATA, flags, 0, &prefixed(message));
        Self { frames, data }
    }

    /// Appends the frames of the call as stream `stream`.
    pub(super) fn write(&self, out: &mut Vec<u8>, stream: u32) {
        let start = out.len();
        out.extend_from_slice(&self.frames);
        for head in [start, start + self.data] {
            out[head + 5..head + HEAD].copy_from_slice(&stream.to_be_bytes());
        }
    }

    /// Bytes that count against the server's windows.
    pub(super) fn weight(&self) -> usize {
        self.frames.len() - self.data - HEAD
    }
}

/// A message as gRPC sends it.
pub(super) fn prefixed(message: &[u8]) -> Vec<u8> {
    let mut data = vec![0];
    data.extend_from_slice(&(message.len() as u32).to_be_bytes());
    data.extend_from_slice(message);
    data
}

/// The header block: literals without indexing and without Huffman codes, so that it depends on no
/// state and is the same each time.
fn headers(path: &str) -> Vec<u8> {
    let mut block = vec![METHOD_POST, SCHEME_HTTP];
    // Names of the static table: 4 is `:path`, 1 `:authority`, 31 `content-type`.
    block.push(4);
    text(&mut block, path);
    block.push(1);
    text(&mut block, "127.0.0.1");
    block.extend_from_slice(&[0x0f, 31 - 0x0f]);
    text(&mut block, "application/grpc");
    block.push(0);
    text(&mut block, "te");
    text(&mut block, "trailers");
    block
}

/// Appends a string of less than 127 bytes.
fn text(block: &mut Vec<u8>, text: &str) {
    debug_assert!(text.len() < 0x7f, "a longer one has a longer length");
    block.push(text.len() as u8);
    block.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http2::frame::Head;

    #[test]
    fn both_frames_get_the_number_of_the_stream() {
        let call = Call::new("/a.B/C", b"message", Requests::One);
        let mut out = b"before".to_vec();
        call.write(&mut out, 77);
        let headers = Head::parse(out[6..].first_chunk().unwrap());
        let data = Head::parse(out[6 + HEAD + headers.length..].first_chunk().unwrap());
        assert_eq!((headers.stream, headers.kind), (77, kind::HEADERS));
        assert_eq!((data.stream, data.kind), (77, kind::DATA));
        assert_eq!(data.length, call.weight());
        assert!(data.has(flag::END_STREAM));
        assert!(out.ends_with(b"\0\0\0\0\x07message"));
    }
}
