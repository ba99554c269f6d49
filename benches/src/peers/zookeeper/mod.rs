//! ZooKeeper, as programs use it: a node of content, a service as a node with a child for each
//! instance, a watch that tells that something changed and a read that fetches what.

mod connection;
mod jute;
mod server;

use bytes::Bytes;

pub(super) use self::server::version;
use self::{
    connection::{Connection, Lifetime, children, data, path},
    server::Server,
};
use super::site::{Client, INSTANCES, SERVICES, Site};
use crate::{
    BenchError,
    process::{Cores, Process},
};

const CONFIG: &str = "/config";
const SERVICE: &str = "/service";
const LOCK: &str = "/lock";

/// What each instance's node holds: about what a record of Curator's service discovery does.
const RECORD: &str = r#"{"name":"service","id":"instance-0","address":"10.0.0.1","port":8080,"payload":{"version":"1.4.2","zone":"eu-1a","metadata":{"team":"payments"}},"registrationTimeUTC":1700000000000,"serviceType":"DYNAMIC"}"#;

/// A server that has what the workloads read.
pub(super) struct ZooKeeper {
    server: Server,
}

/// One session.
pub(super) struct ZooKeeperClient {
    connection: Connection,
    listens: bool,
    /// The node of the client's lock, if it has one.
    lock: Option<String>,
}

// === impl ZooKeeper ===

impl ZooKeeper {
    pub(super) async fn start(cores: Cores, content: &[u8]) -> Result<Self, BenchError> {
        let server = Server::start(cores).await?;
        let mut connection = Connection::open(server.port()).await?;
        let mut nodes = vec![(CONFIG.to_owned(), content), (SERVICE.to_owned(), &[])];
        nodes.extend((0..INSTANCES).map(|id| (format!("{SERVICE}/{id}"), RECORD.as_bytes())));
        nodes.extend((0..SERVICES).map(|number| (registry(number), &[][..])));
        for (path, data) in nodes {
            connection.create(&path, data, Lifetime::Persistent);
            connection.call().await?;
        }
        Ok(Self { server })
    }
}

impl Site for ZooKeeper {
    type Client = ZooKeeperClient;

    fn process(&self) -> &Process {
        self.server.process()
    }

    fn store(&self) -> Option<&Process> {
        None
    }

    async fn connect(&self) -> Result<ZooKeeperClient, BenchError> {
        Ok(ZooKeeperClient {
            connection: Connection::open(self.server.port()).await?,
            listens: false,
            lock: None,
        })
    }
}

// === impl ZooKeeperClient ===

impl ZooKeeperClient {
    /// The node whose children claim a lock that is this client's own.
    async fn lock_node(&mut self) -> Result<String, BenchError> {
        if let Some(lock) = &self.lock {
            return Ok(lock.clone());
        }
        self.connection
            .create(&format!("{LOCK}-"), &[], Lifetime::PersistentNumbered);
        let lock = path(self.connection.call().await?)?;
        self.lock = Some(lock.clone());
        Ok(lock)
    }
}

impl Client for ZooKeeperClient {
    async fn get(&mut self) -> Result<(), BenchError> {
        self.connection.get_data(CONFIG, false);
        self.connection.call().await?;
        Ok(())
    }

    async fn discover(&mut self) -> Result<(), BenchError> {
        self.connection.get_children(SERVICE);
        let names = children(self.connection.call().await?)?;
        if names.len() != INSTANCES as usize {
            return Err(BenchError::Failed(format!(
                "ZooKeeper lists {} instances",
                names.len()
            )));
        }
        // All at once, as an asynchronous client does: the kindest way for ZooKeeper.
        for name in &names {
            let path = format!("{SERVICE}/{}", String::from_utf8_lossy(name));
            self.connection.get_data(&path, false);
        }
        self.connection.flush().await?;
        for _ in &names {
            self.connection.answer().await?;
        }
        Ok(())
    }

    async fn register(&mut self, number: u64) -> Result<(), BenchError> {
        let path = format!("{}/{number}", registry(number % SERVICES));
        self.connection
            .create(&path, RECORD.as_bytes(), Lifetime::Ephemeral);
        self.connection.call().await?;
        Ok(())
    }

    async fn lock(&mut self) -> Result<(), BenchError> {
        let lock = self.lock_node().await?;
        self.connection
            .create(&format!("{lock}/claim-"), &[], Lifetime::EphemeralNumbered);
        let claim = path(self.connection.call().await?)?;
        // Whoever has the smallest number holds it.
        self.connection.get_children(&lock);
        let claims = children(self.connection.call().await?)?;
        if claims.len() != 1 {
            return Err(BenchError::failed("somebody else wants the lock"));
        }
        self.connection.delete(&claim);
        self.connection.call().await?;
        Ok(())
    }

    async fn publish(&mut self, content: Bytes) -> Result<(), BenchError> {
        self.connection.set_data(CONFIG, &content);
        self.connection.call().await?;
        Ok(())
    }

    async fn hear(&mut self) -> Result<Bytes, BenchError> {
        if self.listens {
            self.connection.notice().await?;
        }
        // A watch tells once: the read that fetches the content sets the next one.
        self.connection.get_data(CONFIG, true);
        let answer = self.connection.call().await?;
        self.listens = true;
        data(answer)
    }
}

/// The node whose children are the instances of a service that grows.
fn registry(number: u64) -> String {
    format!("/registry-{number}")
}
