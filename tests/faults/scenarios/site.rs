//! One etcd, replicas as processes, and what is written through them.

use std::time::Duration;

use stanchion_client::proto::{
    DeleteConfigRequest, Instance, OpenSessionRequest, PutConfigRequest, RegisterInstanceRequest,
    config_service_client::ConfigServiceClient, register_instance_request::Liveness,
    registry_service_client::RegistryServiceClient, session_service_client::SessionServiceClient,
};
use tokio::sync::MutexGuard;
use tonic::{Status, transport::Channel};

use crate::{
    checker::Expect,
    harness::turn,
    recorder::Watcher,
    support::{etcd::Etcd, process::Process, server::eventually},
    view::View,
    watched::{Verdict, Watched},
    witness::Reach,
};

/// Short times, so that a test need not wait.
const SETTINGS: [&str; 8] = [
    "--watch-bookmark-interval",
    "500ms",
    "--registry-suspect-grace",
    "1s",
    "--session-min-ttl",
    "1s",
    "--replica-rank-delay",
    "200ms",
];

/// A cluster of etcd that is watched from its first revision.
pub struct Site {
    pub etcd: Etcd,
    pub watched: Watched,
    root: String,
    _turn: MutexGuard<'static, ()>,
}

/// A replica with a client.
pub struct Replica {
    pub process: Process,
    channel: Channel,
}

// === impl Site ===

impl Site {
    pub async fn start(members: usize) -> Self {
        let turn = turn().await;
        let etcd = Etcd::start_cluster(members).await;
        let root = format!("faults-{:016x}", rand::random::<u64>());
        Self {
            watched: Watched::start(Reach::of(&etcd), &root),
            etcd,
            root,
            _turn: turn,
        }
    }

    /// Starts a replica, with a planted bug or without.
    pub async fn replica(&self, bug: Option<&str>) -> Replica {
        let store = format!("etcd://{}/{}", self.etcd.endpoints().join(","), self.root);
        let mut arguments = vec!["--store", &store];
        arguments.extend(SETTINGS);
        let environment = bug.map(|bug| ("STANCHION_PLANTED_BUG", bug));
        let mut process = Process::spawn_in(&arguments, environment.as_slice());
        process.serves().await;
        let channel = process.channel().await;
        Replica { process, channel }
    }

    /// etcd loses everything it has, and starts anew. It has one member.
    pub async fn lose_everything(&mut self) {
        self.watched.witness.catch_up().await;
        self.watched.witness.part().unwrap();
        self.etcd.kill(0);
        self.etcd.wipe(0);
        self.etcd.restart(0).await;
        self.watched.witness.restart(Reach::of(&self.etcd));
    }

    /// Everything has been written: judges what the watchers saw of it.
    pub async fn verdicts(self, run: &str, expect: Expect) -> Vec<Verdict> {
        self.watched.verdicts(run, expect).await.unwrap().1
    }
}

// === impl Replica ===

impl Replica {
    /// Watches at this replica alone.
    pub fn watch(&self, name: &str, view: View) -> Watcher {
        Watcher::new(name, view, vec![self.process.address])
    }

    /// Writes a config; returns the revision.
    pub async fn put(&self, key: &str, content: &str) -> Result<i64, Status> {
        let request = PutConfigRequest {
            key: key.into(),
            content: content.to_owned().into(),
            ..PutConfigRequest::default()
        };
        let mut client = ConfigServiceClient::new(self.channel.clone());
        let answer = client.put_config(request).await?.into_inner();
        Ok(answer.header.unwrap().revision)
    }

    /// The same, as soon as it is possible.
    pub async fn put_at_last(&self, key: &str, content: &str) -> i64 {
        eventually("a write to succeed", || async {
            self.put(key, content).await.ok()
        })
        .await
    }

    /// Writes until etcd has come to a revision after this one; returns that.
    pub async fn outgrow(&self, revision: i64) -> i64 {
        let mut last = 0;
        while last <= revision {
            last = self.put_at_last("in/a", &format!("after {last}")).await;
        }
        last
    }

    pub async fn delete(&self, key: &str) -> Result<(), Status> {
        let request = DeleteConfigRequest {
            key: key.into(),
            ..DeleteConfigRequest::default()
        };
        let mut client = ConfigServiceClient::new(self.channel.clone());
        client.delete_config(request).await.map(drop)
    }

    /// Opens a session that nobody renews; returns its id.
    pub async fn session(&self, ttl: Duration) -> Result<String, Status> {
        let request = OpenSessionRequest {
            ttl: Some(ttl.try_into().unwrap()),
            ..OpenSessionRequest::default()
        };
        let mut client = SessionServiceClient::new(self.channel.clone());
        Ok(client.open_session(request).await?.into_inner().session_id)
    }

    pub async fn register(&self, service: &str, id: &str, session: &str) -> Result<(), Status> {
        let request = RegisterInstanceRequest {
            instance: Some(Instance {
                service: service.into(),
                instance_id: id.into(),
                address: "10.0.0.1".into(),
                ..Instance::default()
            }),
            liveness: Some(Liveness::SessionId(session.into())),
            ..RegisterInstanceRequest::default()
        };
        let mut client = RegistryServiceClient::new(self.channel.clone());
        client.register_instance(request).await.map(drop)
    }

    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }
}
