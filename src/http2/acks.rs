//! Answers to pings that wait for a while.
//!
//! Go's gRPC measures each connection: it sends a ping with what it hears, and the next one once it
//! has the answer. A lone call to etcd would so cost both sides another packet each way, and as many
//! wake-ups as the call itself; with an answer that takes its time it measures as seldom.

use std::{future::Future, pin::Pin, task::Context, time::Duration};

use tokio::{
    io::AsyncWrite,
    time::{Sleep, sleep},
};

use super::{FRAME_HEADER, Sender};

/// How long an answer to a ping may wait: far below any time after which its absence would matter
/// (etcd takes a client for gone after 20 s).
const PATIENCE: Duration = Duration::from_millis(50);

/// What a client says first: `PRI * HTTP/2.0` and so on, which is no frame.
const PREFACE: usize = 24;
/// The type of PING frames, and the flag of those that answer one.
const PING: u8 = 6;
const ACK: u8 = 1;

/// When the answers to pings that wait are sent.
#[derive(Default)]
pub(crate) struct Acks(Option<Pin<Box<Sleep>>>);

/// The answers to pings that were taken out of what is written.
pub(super) struct Aside {
    acks: Vec<u8>,
    /// Up to where what is to be sent has been looked through.
    seen: usize,
    /// What of the frame that was looked at last is still to be written; none when it can no longer
    /// be told where frames begin.
    rest: Option<usize>,
}

// === impl Acks ===

impl Acks {
    /// Releases the answers that wait in `sender` when it is time. To be called after what there is
    /// to send was sent.
    pub(crate) fn poll<W: AsyncWrite + Unpin>(
        &mut self,
        sender: &Sender<W>,
        context: &mut Context<'_>,
    ) {
        if !sender.has_acks() {
            return;
        }
        let due = self.0.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
        if due.as_mut().poll(context).is_ready() {
            self.0 = None;
            sender.release_acks();
            // What the other side has no room for yet is sent when it has.
            let _ = sender.poll_send(context);
        }
    }
}

// === impl Aside ===

impl Aside {
    /// For what a client writes, from its first word.
    pub(super) fn of_client() -> Self {
        Self {
            acks: Vec::new(),
            seen: 0,
            rest: Some(PREFACE),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.acks.is_empty()
    }

    /// Takes answers to pings out of what is written and not looked through yet.
    pub(super) fn take_from(&mut self, written: &mut Vec<u8>) {
        let Some(mut rest) = self.rest else {
            return;
        };
        let mut at = self.seen;
        loop {
            let left = written.len() - at;
            if rest >= left {
                rest -= left;
                break;
            }
            at += rest;
            rest = 0;
            let Some(header) = written.get(at..at + FRAME_HEADER) else {
                // Half a header, as is never written: from here on nothing waits.
                written.splice(at..at, self.acks.drain(..));
                self.rest = None;
                return;
            };
            let [high, middle, low, kind, flags, ..] = *header else {
                break;
            };
            let length = FRAME_HEADER + u32::from_be_bytes([0, high, middle, low]) as usize;
            if (kind, flags & ACK) == (PING, ACK) && written.len() >= at + length {
                self.acks.extend(written.drain(at..at + length));
            } else {
                rest = length;
            }
        }
        self.rest = Some(rest);
        self.seen = written.len();
    }

    /// Puts them back behind what is written.
    pub(super) fn release(&mut self, written: &mut Vec<u8>) {
        self.take_from(written);
        if self.rest == Some(0) {
            written.append(&mut self.acks);
            self.seen = written.len();
        }
    }

    /// The first `count` bytes of what was written are gone.
    pub(super) fn sent(&mut self, count: usize) {
        self.seen = self.seen.saturating_sub(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACKED: [u8; 17] = [0, 0, 8, PING, ACK, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0, 0, payload.len() as u8, kind, 0, 0, 0, 0, 1];
        frame.extend_from_slice(payload);
        frame
    }

    fn begun() -> Aside {
        let mut aside = Aside::of_client();
        let mut preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        aside.take_from(&mut preface);
        aside.sent(preface.len());
        aside
    }

    #[test]
    fn only_answers_to_pings_wait() {
        let mut aside = begun();
        let ping = frame(PING, &[1; 8]);
        let data = frame(0, &ACKED);
        let mut written = [&ping[..], &ACKED, &data, &ACKED].concat();
        aside.take_from(&mut written);
        assert_eq!(written, [&ping[..], &data].concat());
        assert!(!aside.is_empty());
        aside.release(&mut written);
        assert_eq!(written, [&ping[..], &data, &ACKED, &ACKED].concat());
        assert!(aside.is_empty());
        // What was released goes, however often it is looked at.
        let all = written.clone();
        aside.take_from(&mut written);
        assert_eq!(written, all);
    }

    #[test]
    fn a_frame_may_be_sent_in_parts() {
        let mut aside = begun();
        let data = frame(0, &[7; 100]);
        let mut written = data[..50].to_vec();
        aside.take_from(&mut written);
        assert_eq!(written, data[..50]);
        // No answer goes into the middle of it.
        aside.acks.extend(ACKED);
        aside.release(&mut written);
        assert_eq!(written, data[..50]);
        aside.sent(20);
        let mut written = [&written[20..], &data[50..], &ACKED].concat();
        aside.take_from(&mut written);
        assert_eq!(written, data[20..]);
        aside.release(&mut written);
        assert_eq!(written, [&data[20..], &ACKED, &ACKED].concat());
    }
}
