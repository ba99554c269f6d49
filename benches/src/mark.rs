//! Values that say when they were meant to be written, so that whoever gets one knows how late it
//! is without decoding the message around it.

use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use memchr::memmem;

/// Comes before the intended time in each value, and nowhere else in a message.
const MARK: &[u8; 16] = b"<stanchion-time>";

/// Writes and reads such values.
#[derive(Clone)]
pub(crate) struct Clock {
    /// Times count from here.
    epoch: Instant,
    value_bytes: usize,
    finder: memmem::Finder<'static>,
}

// === impl Clock ===

impl Clock {
    /// A clock for values of this length, which is at least 24.
    pub(crate) fn new(value_bytes: u32) -> Self {
        Self {
            epoch: Instant::now(),
            value_bytes: value_bytes as usize,
            finder: memmem::Finder::new(MARK),
        }
    }

    /// A value that is meant to be written at `due`.
    pub(crate) fn value(&self, due: Instant) -> Bytes {
        let mut value = BytesMut::with_capacity(self.value_bytes);
        value.put_slice(MARK);
        value.put_u64(self.nanos(due));
        value.resize(self.value_bytes, b'.');
        value.freeze()
    }

    /// Times as they are in values.
    pub(crate) fn nanos(&self, time: Instant) -> u64 {
        (time - self.epoch).as_nanos() as u64
    }

    /// How long before `now` that was.
    pub(crate) fn age(&self, nanos: u64, now: Instant) -> Duration {
        now.saturating_duration_since(self.epoch + Duration::from_nanos(nanos))
    }

    /// Tells the time of each value in a message.
    pub(crate) fn times(&self, message: &[u8], mut on: impl FnMut(u64)) {
        let mut rest = message;
        // Another value needs its own bytes: most messages are not searched to the end.
        while rest.len() >= self.value_bytes {
            let Some(start) = self.finder.find(rest) else {
                return;
            };
            let Some((time, _)) = rest[start + MARK.len()..].split_first_chunk() else {
                return;
            };
            on(u64::from_be_bytes(*time));
            rest = rest.get(start + self.value_bytes..).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_of_a_message_tells_its_time() {
        let clock = Clock::new(200);
        let dues: Vec<_> = (1..4)
            .map(|n| clock.epoch + Duration::from_micros(n))
            .collect();
        for count in 0..=dues.len() {
            let mut message = b"head".to_vec();
            for due in &dues[..count] {
                message.extend_from_slice(&clock.value(*due));
                message.extend_from_slice(b"<between");
            }
            let mut seen = Vec::new();
            clock.times(&message, |nanos| seen.push(nanos));
            let expected: Vec<_> = dues[..count].iter().map(|due| clock.nanos(*due)).collect();
            assert_eq!(seen, expected);
        }
    }
}
