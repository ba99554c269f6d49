//! What a server sends: frames taken apart, messages put together.

use std::collections::HashMap;

use super::frame::{self, HEAD, Head, MAX_PAYLOAD, flag, kind};

/// Bytes before a message in gRPC: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Of all received, how much may pass until the server is given as much again: half of the
/// connection's window.
const TOP_UP: u32 = 1 << 30;

/// What happens on a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// A whole message of a stream.
    Message {
        /// The stream it belongs to.
        stream: u32,
        /// The message without its prefix.
        message: &'a [u8],
    },
    /// A stream is over.
    End {
        /// The stream that ended.
        stream: u32,
        /// How it ended.
        end: End,
    },
}

/// How a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// With headers or trailers, which are not decoded: a status may say that the call failed.
    /// Without any message before, it surely did.
    Regular,
    /// By a reset with this code.
    Reset(u32),
}

/// The receiving side of a connection.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    /// The beginnings of messages that go on in a later frame.
    partial: HashMap<u32, Vec<u8>>,
    /// Bytes of DATA since the window was topped up.
    received: u32,
    /// What the server allowed to be sent in addition, and is not taken note of yet.
    pub(super) credit: i64,
    /// How many streams the server allows, once it said so.
    pub(super) max_streams: Option<u32>,
    /// Whether the server's settings have arrived.
    pub(super) settled: bool,
}

// === impl Inbound ===

impl Inbound {
    /// Takes all whole frames and tells how many bytes those were. What has to be answered is
    /// appended to `reply`.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        reply: &mut Vec<u8>,
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<usize, String> {
        let mut rest = bytes;
        while let Some((head, payload)) = rest.split_first_chunk::<HEAD>() {
            let head = Head::parse(head);
            if head.length > MAX_PAYLOAD {
                return Err(format!("a frame of {} bytes", head.length));
            }
            let Some((payload, after)) = payload.split_at_checked(head.length) else {
                break;
            };
            self.frame(head, payload, reply, on)?;
            rest = after;
        }
        Ok(bytes.len() - rest.len())
    }

    fn frame(
        &mut self,
        head: Head,
        payload: &[u8],
        reply: &mut Vec<u8>,
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<(), String> {
        let stream = head.stream;
        match head.kind {
            kind::DATA => {
                self.count(payload.len() as u32, reply);
                let data = unpadded(head, payload).ok_or("padding longer than its frame")?;
                self.data(stream, data, on);
            }
            kind::SETTINGS if !head.has(flag::ACK) => {
                self.settings(payload);
                frame::write(reply, kind::SETTINGS, flag::ACK, 0, &[]);
            }
            kind::PING if !head.has(flag::ACK) => {
                frame::write(reply, kind::PING, flag::ACK, 0, payload);
            }
            kind::WINDOW_UPDATE if stream == 0 => self.credit += i64::from(number(payload)),
            kind::RST_STREAM => self.end(stream, End::Reset(number(payload)), on),
            kind::GOAWAY => {
                let text = payload.get(8..).unwrap_or_default().escape_ascii();
                return Err(format!("the server goes away: {text}"));
            }
            // Headers are not decoded, nor is their continuation.
            _ => {}
        }
        if matches!(head.kind, kind::DATA | kind::HEADERS) && head.has(flag::END_STREAM) {
            self.end(stream, End::Regular, on);
        }
        Ok(())
    }

    /// Tells the messages that a DATA frame completes. Most frames hold one, and that is not copied.
    fn data(&mut self, stream: u32, data: &[u8], on: &mut impl FnMut(Event<'_>)) {
        if self.partial.is_empty() {
            let rest = messages(stream, data, on);
            if !rest.is_empty() {
                self.partial.insert(stream, rest.to_vec());
            }
            return;
        }
        let mut whole = self.partial.remove(&stream).unwrap_or_default();
        whole.extend_from_slice(data);
        let rest = messages(stream, &whole, on).len();
        if rest > 0 {
            whole.drain(..whole.len() - rest);
            self.partial.insert(stream, whole);
        }
    }

    fn end(&mut self, stream: u32, end: End, on: &mut impl FnMut(Event<'_>)) {
        self.partial.remove(&stream);
        on(Event::End { stream, end });
    }

    /// Gives the server new window long before there is none. Those of streams are as large, and
    /// none lives long enough to use its up.
    fn count(&mut self, bytes: u32, reply: &mut Vec<u8>) {
        self.received += bytes;
        if self.received > TOP_UP {
            frame::write(
                reply,
                kind::WINDOW_UPDATE,
                0,
                0,
                &self.received.to_be_bytes(),
            );
            self.received = 0;
        }
    }

    fn settings(&mut self, payload: &[u8]) {
        const MAX_CONCURRENT_STREAMS: u16 = 3;
        self.settled = true;
        for setting in payload.chunks_exact(6) {
            if u16::from_be_bytes([setting[0], setting[1]]) == MAX_CONCURRENT_STREAMS {
                self.max_streams = Some(number(&setting[2..]));
            }
        }
    }
}

/// Tells all whole messages, and returns what follows them.
fn messages<'a>(stream: u32, data: &'a [u8], on: &mut impl FnMut(Event<'_>)) -> &'a [u8] {
    let mut rest = data;
    while let Some((prefix, after)) = rest.split_first_chunk::<PREFIX>() {
        let [_, l0, l1, l2, l3] = *prefix;
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        let Some((message, after)) = after.split_at_checked(length) else {
            break;
        };
        on(Event::Message { stream, message });
        rest = after;
    }
    rest
}

/// What remains of a payload without its padding.
fn unpadded(head: Head, payload: &[u8]) -> Option<&[u8]> {
    if !head.has(flag::PADDED) {
        return Some(payload);
    }
    let (padding, rest) = payload.split_first()?;
    rest.get(..rest.len().checked_sub(usize::from(*padding))?)
}

/// The number at the start of a payload; zero if there is none.
fn number(payload: &[u8]) -> u32 {
    payload
        .first_chunk()
        .map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests;
