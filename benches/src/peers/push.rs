//! A config that is written at a fixed rate, and programs that each want to hold what it says.

use std::{
    cell::Cell,
    convert::Infallible,
    time::{Duration, Instant},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::future::try_join_all;
use tokio::time::{sleep, sleep_until, timeout};

use super::site::Client;
use crate::{BenchError, histogram::Histogram};

/// How long the last content may take to arrive.
const PATIENCE: Duration = Duration::from_secs(5);

/// A publisher and those who listen.
pub(super) struct Push<C> {
    publisher: C,
    listeners: Vec<C>,
    content_bytes: usize,
    /// Intended times count from here.
    epoch: Instant,
    pub(super) latency: Histogram,
}

/// What the listeners of one run count together.
struct Tally<'a> {
    epoch: Instant,
    latency: &'a Histogram,
    held: Cell<u64>,
    /// When the last content was due; known when it is written.
    last: Cell<Option<Instant>>,
    /// How many hold the last content.
    done: Cell<u64>,
}

// === impl Push ===

impl<C: Client> Push<C> {
    pub(super) fn new(publisher: C, listeners: Vec<C>, content_bytes: u32) -> Self {
        Self {
            publisher,
            listeners,
            content_bytes: content_bytes as usize,
            epoch: Instant::now(),
            latency: Histogram::new(),
        }
    }

    /// Lets everyone hold what there is, so that what comes next is news.
    pub(super) async fn listen(&mut self) -> Result<(), BenchError> {
        try_join_all(self.listeners.iter_mut().map(Client::hear)).await?;
        Ok(())
    }

    /// Writes so many contents, `rate` a second, and tells how many were held: fewer than all if a
    /// listener fetched a later one in place of an earlier one.
    pub(super) async fn run(&mut self, writes: u32, rate: u32) -> Result<u64, BenchError> {
        self.latency.clear();
        let listeners = self.listeners.len() as u64;
        let tally = Tally {
            epoch: self.epoch,
            latency: &self.latency,
            held: Cell::new(0),
            last: Cell::new(None),
            done: Cell::new(0),
        };
        let hear = self.listeners.iter_mut().map(|client| tally.count(client));
        let publish = async {
            let begun = Instant::now();
            for number in 0..writes {
                let due = begun + Duration::from_secs(1) * number / rate;
                sleep_until(due.into()).await;
                if number + 1 == writes {
                    tally.last.set(Some(due));
                }
                let nanos = (due - self.epoch).as_nanos() as u64;
                let content = content(nanos, self.content_bytes);
                self.publisher.publish(content).await?;
            }
            let all = async {
                while tally.done.get() < listeners {
                    sleep(Duration::from_millis(1)).await;
                }
            };
            timeout(PATIENCE, all)
                .await
                .map_err(|_| BenchError::Failed("the last content does not arrive".to_owned()))
        };
        tokio::select! {
            Err(error) = try_join_all(hear) => Err(error),
            published = publish => published.map(|()| tally.held.get()),
        }
    }
}

// === impl Tally ===

impl Tally<'_> {
    /// Counts what a listener holds, for good.
    async fn count<C: Client>(&self, client: &mut C) -> Result<Infallible, BenchError> {
        loop {
            let content = client.hear().await?;
            let due = due(self.epoch, &content)?;
            self.latency.record(due.elapsed());
            self.held.set(self.held.get() + 1);
            if self.last.get() == Some(due) {
                self.done.set(self.done.get() + 1);
            }
        }
    }
}

/// A content that begins with a number, such as when it was due to be written.
fn content(number: u64, length: usize) -> Bytes {
    let mut content = BytesMut::with_capacity(length);
    content.put_u64(number);
    content.resize(length, b'.');
    content.freeze()
}

/// When a content was due.
fn due(epoch: Instant, content: &[u8]) -> Result<Instant, BenchError> {
    content
        .first_chunk()
        .map(|nanos| epoch + Duration::from_nanos(u64::from_be_bytes(*nanos)))
        .ok_or_else(|| BenchError::Failed("a listener holds what nobody wrote".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_says_when_it_was_due() {
        let epoch = Instant::now();
        let later = epoch + Duration::from_millis(1234);
        let content = content((later - epoch).as_nanos() as u64, 1024);
        assert_eq!(content.len(), 1024);
        assert_eq!(due(epoch, &content).unwrap(), later);
    }
}
