//! Stanchion over etcd, as programs use it: one call for a config, one for all instances of a
//! service, and a watch that brings the content with the news.

use std::collections::VecDeque;

use bytes::Bytes;
use prost::Message;
use stanchion_client::proto::{
    BatchRegisterInstancesRequest, ContentType, GetConfigRequest, Instance, ListInstancesRequest,
    ListInstancesResponse, Port, PutConfigRequest, RegisterInstanceRequest, WatchConfigsRequest,
    WatchConfigsResponse, batch_register_instances_request, register_instance_request,
    watch_configs_request, watch_configs_response,
};

use super::site::{Client, INSTANCES, SERVICES, Site};
use crate::{
    BenchError,
    http2::{Call, Connection, Event, Windows},
    process::Process,
    target::{Place, Programs, Target},
    workloads::{
        busy::call,
        instances::{LIST, REGISTER_BATCH, unary, undecodable},
        locks::{acquire, open_session, release},
    },
};

const CONFIG: &str = "config";
const SERVICE: &str = "service";

const GET: &str = "/stanchion.v1.ConfigService/GetConfig";
const PUT: &str = "/stanchion.v1.ConfigService/PutConfig";
const WATCH: &str = "/stanchion.v1.ConfigService/WatchConfigs";
const REGISTER: &str = "/stanchion.v1.RegistryService/RegisterInstance";

/// Registrations on one session before another one is opened: few enough for the server's default
/// limit of 1,000, many enough for the opening not to count.
const PER_SESSION: u32 = 900;

/// A server that has what the workloads read.
pub(super) struct Stanchion {
    site: crate::target::Site,
}

/// One program.
pub(super) struct StanchionClient {
    connection: Connection,
    get: Call,
    list: Call,
    session: String,
    /// The name of its own lock, and the session that takes it.
    owner: Option<(String, String)>,
    /// How many more instances the session takes.
    room: u32,
    /// Contents that the watch brought and nobody took. Nothing before there is a watch.
    heard: Option<VecDeque<Bytes>>,
}

// === impl Stanchion ===

impl Stanchion {
    pub(super) async fn start(programs: &Programs, content: &[u8]) -> Result<Self, BenchError> {
        let site =
            crate::target::Site::start(programs, Target::Stanchion, Place::BesideEtcd).await?;
        let stanchion = Self { site };
        let mut client = stanchion.connect().await?;
        client.publish(Bytes::copy_from_slice(content)).await?;
        let batch = BatchRegisterInstancesRequest {
            instances: (0..INSTANCES)
                .map(|id| instance(SERVICE.to_owned(), id))
                .collect(),
            liveness: Some(batch_register_instances_request::Liveness::Persistent(true)),
            ..BatchRegisterInstancesRequest::default()
        };
        call(&mut client.connection, &unary(REGISTER_BATCH, &batch)).await?;
        let listed = call(&mut client.connection, &client.list).await?;
        let listed = ListInstancesResponse::decode(listed).map_err(undecodable)?;
        if listed.instances.len() as u64 != INSTANCES {
            return Err(BenchError::Failed(format!(
                "Stanchion lists {} instances",
                listed.instances.len()
            )));
        }
        Ok(stanchion)
    }
}

impl Site for Stanchion {
    type Client = StanchionClient;

    fn process(&self) -> &Process {
        self.site.server()
    }

    fn store(&self) -> Option<&Process> {
        self.site.etcd_behind()
    }

    async fn connect(&self) -> Result<StanchionClient, BenchError> {
        let get = GetConfigRequest {
            key: CONFIG.to_owned(),
            ..GetConfigRequest::default()
        };
        let list = ListInstancesRequest {
            service: SERVICE.to_owned(),
            ..ListInstancesRequest::default()
        };
        Ok(StanchionClient {
            connection: Connection::open(self.site.port(), Windows::Large).await?,
            get: unary(GET, &get),
            list: unary(LIST, &list),
            session: String::new(),
            owner: None,
            room: 0,
            heard: None,
        })
    }
}

// === impl StanchionClient ===

impl Client for StanchionClient {
    async fn get(&mut self) -> Result<(), BenchError> {
        call(&mut self.connection, &self.get).await?;
        Ok(())
    }

    async fn discover(&mut self) -> Result<(), BenchError> {
        call(&mut self.connection, &self.list).await?;
        Ok(())
    }

    async fn register(&mut self, number: u64) -> Result<(), BenchError> {
        if self.room == 0 {
            self.session = open_session(&mut self.connection).await?;
            self.room = PER_SESSION;
        }
        self.room -= 1;
        let service = format!("registry-{}", number % SERVICES);
        let register = RegisterInstanceRequest {
            instance: Some(instance(service, number)),
            liveness: Some(register_instance_request::Liveness::SessionId(
                self.session.clone(),
            )),
            ..RegisterInstanceRequest::default()
        };
        call(&mut self.connection, &unary(REGISTER, &register)).await?;
        Ok(())
    }

    async fn lock(&mut self) -> Result<(), BenchError> {
        let (lock, session) = match &mut self.owner {
            Some(owner) => owner,
            none => {
                let session = open_session(&mut self.connection).await?;
                none.insert((format!("lock-{session}"), session))
            }
        };
        let held = call(&mut self.connection, &acquire(lock, session)).await?;
        call(&mut self.connection, &release(lock, session, &held)?).await?;
        Ok(())
    }

    async fn publish(&mut self, content: Bytes) -> Result<(), BenchError> {
        let put = PutConfigRequest {
            key: CONFIG.to_owned(),
            content,
            content_type: ContentType::Binary.into(),
            ..PutConfigRequest::default()
        };
        call(&mut self.connection, &unary(PUT, &put)).await?;
        Ok(())
    }

    async fn hear(&mut self) -> Result<Bytes, BenchError> {
        if self.heard.is_none() {
            let watch = WatchConfigsRequest {
                selection: Some(watch_configs_request::Selection::Key(CONFIG.to_owned())),
                ..WatchConfigsRequest::default()
            };
            self.connection.start(&unary(WATCH, &watch));
        }
        let heard = self.heard.get_or_insert_default();
        loop {
            if let Some(content) = heard.pop_front() {
                return Ok(content);
            }
            let mut failure = None;
            self.connection
                .exchange(|event| match event {
                    Event::Message { message, .. } => match contents(message) {
                        Ok(contents) => heard.extend(contents),
                        Err(error) => failure = Some(error),
                    },
                    Event::End { .. } => {
                        failure = Some(BenchError::Failed("a watch ended".to_owned()));
                    }
                })
                .await?;
            failure.map_or(Ok(()), Err)?;
        }
    }
}

/// The contents that a message of a watch has.
fn contents(message: &[u8]) -> Result<Vec<Bytes>, BenchError> {
    use watch_configs_response::Message::{Bookmark, Delta, Reset, Snapshot, SnapshotEnd};
    let response = WatchConfigsResponse::decode(message).map_err(undecodable)?;
    let configs: Vec<_> = match response.message {
        Some(Snapshot(snapshot)) => snapshot.configs,
        Some(Delta(delta)) => delta
            .events
            .into_iter()
            .filter_map(|event| event.config)
            .collect(),
        Some(SnapshotEnd(_) | Bookmark(_) | Reset(_)) | None => Vec::new(),
    };
    Ok(configs.into_iter().map(|config| config.content).collect())
}

/// An instance that says as much of itself as the one in ZooKeeper does.
fn instance(service: String, id: u64) -> Instance {
    Instance {
        service,
        instance_id: format!("instance-{id}"),
        address: "10.0.0.1".to_owned(),
        ports: vec![Port {
            name: "http".to_owned(),
            port: 8080,
            protocol: "http".to_owned(),
        }],
        version: "1.4.2".to_owned(),
        zone: "eu-1a".to_owned(),
        metadata: [("team".to_owned(), "payments".to_owned())].into(),
        ..Instance::default()
    }
}
