//! Programs that do one operation after the other, all at the same time.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;

use super::site::Client;
use crate::{BenchError, histogram::Histogram};

/// What programs can do over and over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// See [`Client::get`].
    Get,
    /// See [`Client::discover`].
    Discover,
    /// See [`Client::register`].
    Register,
    /// See [`Client::lock`].
    Lock,
}

/// The programs, and what they have in common.
pub(super) struct Load<C> {
    clients: Vec<C>,
    /// The next instance to register: no two have the same.
    number: Cell<u64>,
    pub(super) latency: Histogram,
}

// === impl Operation ===

impl Operation {
    async fn run<C: Client>(self, client: &mut C, number: &Cell<u64>) -> Result<(), BenchError> {
        let next = || number.replace(number.get() + 1);
        match self {
            Self::Get => client.get().await,
            Self::Discover => client.discover().await,
            Self::Register => client.register(next()).await,
            Self::Lock => client.lock().await,
        }
    }
}

// === impl Load ===

impl<C: Client> Load<C> {
    pub(super) fn new(clients: Vec<C>) -> Self {
        Self {
            clients,
            number: Cell::new(0),
            latency: Histogram::new(),
        }
    }

    /// Keeps all programs busy for so long, and tells how many operations were done.
    pub(super) async fn run(
        &mut self,
        operation: Operation,
        duration: Duration,
    ) -> Result<u64, BenchError> {
        self.latency.clear();
        let end = Instant::now() + duration;
        let (number, latency) = (&self.number, &self.latency);
        let programs = self.clients.iter_mut().map(|client| async move {
            let mut done = 0;
            loop {
                let begun = Instant::now();
                if begun >= end {
                    return Ok::<u64, BenchError>(done);
                }
                operation.run(client, number).await?;
                latency.record(begun.elapsed());
                done += 1;
            }
        });
        Ok(try_join_all(programs).await?.iter().sum())
    }
}
