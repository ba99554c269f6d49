//! One etcd, replicas as processes, and what is written through them.

use std::time::{Duration, Instant};

use stanchion_client::proto::{
    DeleteConfigRequest, Instance, OpenSessionRequest, PutConfigRequest, RegisterInstanceRequest,
    config_service_client::ConfigServiceClient, register_instance_request::Liveness,
    registry_service_client::RegistryServiceClient, session_service_client::SessionServiceClient,
};
use tonic::{Status, transport::Channel};

use crate::{
    checker::{Expect, Summary, Truth, Violation, check, delays},
    recorder::{Recorder, Watcher},
    support::{etcd::Etcd, process::Process, server::eventually},
    view::View,
    witness::{History, Reach, Witness},
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
    pub witness: Witness,
    root: String,
    begun: Instant,
}

/// A replica with a client.
pub struct Replica {
    pub process: Process,
    channel: Channel,
}

// === impl Site ===

impl Site {
    pub async fn start(members: usize) -> Self {
        let etcd = Etcd::start_cluster(members).await;
        let root = format!("faults-{:016x}", rand::random::<u64>());
        Self {
            witness: Witness::start(Reach::plain(etcd.endpoints()), &root),
            etcd,
            root,
            begun: Instant::now(),
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
        self.witness.catch_up().await;
        self.witness.part().unwrap();
        self.etcd.kill(0);
        self.etcd.wipe(0);
        self.etcd.restart(0).await;
        self.witness.restart(Reach::plain(self.etcd.endpoints()));
    }

    /// Ends the watches, and checks what they saw; the journal of one that saw wrong is kept.
    pub async fn verdicts(
        self,
        run: &str,
        recorders: Vec<Recorder>,
        expect: Expect,
    ) -> Vec<Result<Summary, Vec<Violation>>> {
        let history = self.witness.finish().await.unwrap();
        let mut verdicts = Vec::new();
        for recorder in recorders {
            let watcher = recorder.watcher().clone();
            verdicts.push(verdict(&history, run, &watcher, recorder, self.begun, expect).await);
        }
        verdicts
    }
}

async fn verdict(
    history: &History,
    run: &str,
    watcher: &Watcher,
    recorder: Recorder,
    begun: Instant,
    expect: Expect,
) -> Result<Summary, Vec<Violation>> {
    let observation = recorder.stop().await;
    let truth = Truth::of(history, &watcher.view).unwrap();
    let verdict = check(&truth, &observation, expect);
    let mut delays = delays::of(history, &truth, &observation);
    delays.sort_unstable();
    let share = |percent| delays.get(delays.len() * percent / 100);
    println!(
        "{run}: {} was told after {:?} (half), {:?} (90 %)",
        watcher.name,
        share(50),
        share(90)
    );
    if let Err(violations) = &verdict {
        let kept = observation
            .keep(run, &watcher.name, begun, violations)
            .unwrap();
        println!("{run}: {} saw wrong, see {}", watcher.name, kept.display());
    }
    verdict
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
