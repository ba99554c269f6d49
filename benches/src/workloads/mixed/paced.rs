//! Calls at a fixed rate, whatever is still under way.

use std::{
    cell::Cell,
    convert::Infallible,
    time::{Duration, Instant},
};

use tokio::time::sleep_until;

use crate::{
    BenchError,
    histogram::Histogram,
    http2::{Call, Connection, Event},
};

/// When calls are due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// From one to the next.
    pub(super) pause: Duration,
    /// From the beginning to the first.
    pub(super) offset: Duration,
}

/// What some connections count together.
pub(super) struct Counts {
    /// Calls that were answered.
    pub(super) answered: Cell<u64>,
    /// From when each was due.
    pub(super) latency: Histogram,
}

/// Makes calls for good.
pub(super) async fn call_at(
    pace: Pace,
    connection: &mut Connection,
    mut next: impl FnMut() -> Call,
    counts: &Counts,
) -> Result<Infallible, BenchError> {
    let mut due = Instant::now() + pace.offset;
    // The streams under way, when they were due, and whether they were answered.
    let mut flights: Vec<(u32, Instant, bool)> = Vec::new();
    loop {
        while Instant::now() >= due && connection.may_send() {
            flights.push((connection.start(&next()), due, false));
            due += pace.pause;
        }
        connection.flush().await?;
        let mut refused = false;
        tokio::select! {
            () = sleep_until(due.into()), if connection.may_send() => {}
            exchanged = connection.exchange(|event| match event {
                Event::Message { stream, .. } => {
                    let flight = flights.iter_mut().find(|flight| flight.0 == stream);
                    if let Some((_, _, answered)) = flight {
                        *answered = true;
                    }
                }
                Event::End { stream, .. } => {
                    if let Some(at) = flights.iter().position(|flight| flight.0 == stream) {
                        let (_, due, answered) = flights.swap_remove(at);
                        refused |= !answered;
                        counts.latency.record(due.elapsed());
                        counts.answered.set(counts.answered.get() + 1);
                    }
                }
            }) => exchanged?,
        }
        if refused {
            return Err(BenchError::failed("a server refused a call"));
        }
    }
}

// === impl Counts ===

impl Counts {
    pub(super) fn new() -> Self {
        Self {
            answered: Cell::new(0),
            latency: Histogram::new(),
        }
    }

    /// Forgets the warm-up.
    pub(super) fn clear(&self) {
        self.answered.set(0);
        self.latency.clear();
    }
}
