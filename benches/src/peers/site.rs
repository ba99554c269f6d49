//! What the workloads ask of a server and of the programs that use it.

use bytes::Bytes;

use crate::{BenchError, process::Process};

/// How many instances the service has that is looked up.
pub(super) const INSTANCES: u64 = 10;

/// Over how many services registrations are spread.
pub(super) const SERVICES: u64 = 1000;

/// A server that runs, with a config to read and a service to look up.
pub(super) trait Site {
    /// A program that uses it.
    type Client: Client;

    /// The process that is measured.
    fn process(&self) -> &Process;

    /// The process it keeps its data in, if that is another one.
    fn store(&self) -> Option<&Process>;

    /// A program with a connection and a session of its own.
    async fn connect(&self) -> Result<Self::Client, BenchError>;
}

/// A program that uses a server, over one connection, for one thing at a time.
pub(super) trait Client {
    /// Reads the config.
    async fn get(&mut self) -> Result<(), BenchError>;

    /// Learns where all instances of the service are.
    async fn discover(&mut self) -> Result<(), BenchError>;

    /// Registers an instance that lives as long as the program's session.
    async fn register(&mut self, number: u64) -> Result<(), BenchError>;

    /// Takes a lock that nobody else wants, and releases it.
    async fn lock(&mut self) -> Result<(), BenchError>;

    /// Writes the config.
    async fn publish(&mut self, content: Bytes) -> Result<(), BenchError>;

    /// Waits until it holds a content it did not hold before; at first, the one there is.
    async fn hear(&mut self) -> Result<Bytes, BenchError>;
}
