//! One heartbeat a second for each session of a connection.

use std::{
    cell::Cell,
    convert::Infallible,
    time::{Duration, Instant},
};

use prost::Message as _;
use stanchion_client::proto::{KeepAliveResponse, keep_alive_response::Message};
use tokio::time::sleep_until;

use crate::{
    BenchError,
    etcd::LeaseKeepAliveResponse,
    histogram::Histogram,
    http2::{Call, Connection, Event, Requests},
    wire::Dialect,
    workloads::instances::undecodable,
};

/// How often a session sends a heartbeat.
const PERIOD: Duration = Duration::from_secs(1);

/// The sessions of a connection.
pub(crate) struct Beats {
    dialect: Dialect,
    path: &'static str,
    /// What each session sends.
    heartbeats: Vec<Vec<u8>>,
    /// When in a period the first one is due, as a part of the pause between two of them.
    phase: f64,
}

/// What all connections count together.
pub(crate) struct Counts {
    /// Heartbeats.
    pub(crate) sent: Cell<u64>,
    /// Answers that say that the session lives.
    pub(crate) answered: Cell<u64>,
    /// From when a heartbeat was due to its answer.
    pub(crate) latency: Histogram,
}

/// The streams of a connection. They are opened in a row, and so their numbers are.
struct Streams {
    first: Option<u32>,
    /// When the last heartbeat of each session was due; nothing if it is answered.
    due: Vec<Option<Instant>>,
}

// === impl Beats ===

impl Beats {
    pub(crate) fn new(
        dialect: Dialect,
        path: &'static str,
        heartbeats: Vec<Vec<u8>>,
        phase: f64,
    ) -> Self {
        Self {
            dialect,
            path,
            heartbeats,
            phase,
        }
    }

    /// Sends heartbeats for good, at even distances. The first one of a session opens its stream.
    pub(crate) async fn send(
        self,
        connection: &mut Connection,
        counts: &Counts,
    ) -> Result<Infallible, BenchError> {
        let sessions = self.heartbeats.len();
        let pause = PERIOD / sessions as u32;
        let mut due = Instant::now() + pause.mul_f64(self.phase);
        let mut streams = Streams {
            first: None,
            due: Vec::with_capacity(sessions),
        };
        let mut next = 0;
        loop {
            while Instant::now() >= due && connection.may_send() {
                match streams.due.get_mut(next) {
                    None => {
                        let call = Call::new(self.path, &self.heartbeats[next], Requests::Many);
                        let stream = connection.start(&call);
                        streams.first.get_or_insert(stream);
                        streams.due.push(Some(due));
                    }
                    Some(last) => {
                        *last = Some(due);
                        let stream = streams.first.unwrap_or_default() + 2 * next as u32;
                        connection.send(stream, &self.heartbeats[next]);
                    }
                }
                counts.sent.set(counts.sent.get() + 1);
                next = (next + 1) % sessions;
                due += pause;
            }
            connection.flush().await?;
            let mut failure = None;
            tokio::select! {
                () = sleep_until(due.into()), if connection.may_send() => {}
                exchanged = connection.exchange(|event| {
                    if let Err(error) = streams.take(self.dialect, event, counts) {
                        failure = Some(error);
                    }
                }) => exchanged?,
            }
            failure.map_or(Ok(()), Err)?;
        }
    }
}

// === impl Streams ===

impl Streams {
    /// Takes an answer, which has to say that the session lives.
    fn take(
        &mut self,
        dialect: Dialect,
        event: Event<'_>,
        counts: &Counts,
    ) -> Result<(), BenchError> {
        let (stream, message) = match event {
            Event::Message { stream, message } => (stream, message),
            Event::End { .. } => return Err(BenchError::failed("a stream of heartbeats ended")),
        };
        let lives = match dialect {
            Dialect::Etcd => {
                let answer = LeaseKeepAliveResponse::decode(message).map_err(undecodable)?;
                answer.ttl > 0
            }
            Dialect::Stanchion => {
                let answer = KeepAliveResponse::decode(message).map_err(undecodable)?;
                matches!(answer.message, Some(Message::Alive(_)))
            }
        };
        if !lives {
            return Err(BenchError::failed("a session is lost"));
        }
        let first = self.first.unwrap_or_default();
        let index = stream.saturating_sub(first) as usize / 2;
        if let Some(due) = self.due.get_mut(index).and_then(Option::take) {
            counts.latency.record(due.elapsed());
            counts.answered.set(counts.answered.get() + 1);
        }
        Ok(())
    }
}

// === impl Counts ===

impl Counts {
    pub(crate) fn new() -> Self {
        Self {
            sent: Cell::new(0),
            answered: Cell::new(0),
            latency: Histogram::new(),
        }
    }

    /// Forgets the warm-up.
    pub(crate) fn clear(&self) {
        self.sent.set(0);
        self.answered.set(0);
        self.latency.clear();
    }
}
