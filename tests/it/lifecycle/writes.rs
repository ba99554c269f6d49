//! What was acknowledged is there after `kill -9`.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::process::Signal;
use stanchion_client::proto::{
    GetConfigRequest, GetInstanceRequest, Instance, PutConfigRequest, RegisterInstanceRequest,
    config_service_client::ConfigServiceClient, register_instance_request::Liveness,
    registry_service_client::RegistryServiceClient,
};
use tonic::transport::Channel;

use crate::support::{process::Process, server::eventually};

const WRITERS: u64 = 8;

/// What the server said it has.
#[derive(Default)]
struct Acknowledged {
    /// The highest version of each config.
    configs: Mutex<BTreeMap<String, i64>>,
    instances: Mutex<Vec<String>>,
    count: AtomicU64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_kill_9_of_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let store = format!("--store=file:{}", directory.path().display());
    let acknowledged = Arc::new(Acknowledged::default());
    for round in 1..=3 {
        let mut process = Process::serve(&[&store]).await;
        let channel = process.channel().await;
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let name = format!("{round}-{writer}");
                tokio::spawn(write(channel.clone(), name, acknowledged.clone()))
            })
            .collect();
        let enough = acknowledged.count.load(Ordering::SeqCst) + 200;
        eventually("writes", || async {
            (acknowledged.count.load(Ordering::SeqCst) >= enough).then_some(())
        })
        .await;
        process.signal(Signal::KILL);
        process.end().await;
        for writer in writers {
            writer.await.unwrap();
        }

        let mut process = Process::serve(&[&store]).await;
        acknowledged.is_at(process.channel().await).await;
        // The directory is free only then.
        process.signal(Signal::KILL);
        process.end().await;
    }
}

/// Writes until the server is gone.
async fn write(channel: Channel, name: String, acknowledged: Arc<Acknowledged>) {
    let mut configs = ConfigServiceClient::new(channel.clone());
    let mut registry = RegistryServiceClient::new(channel);
    for number in 0.. {
        let put = PutConfigRequest {
            key: name.clone(),
            content: format!("{number}").into(),
            ..PutConfigRequest::default()
        };
        let Ok(answer) = configs.put_config(put).await else {
            return;
        };
        let version = answer.into_inner().config.unwrap().version;
        let key = name.clone();
        acknowledged.configs.lock().unwrap().insert(key, version);

        let id = format!("{name}-{number}");
        let register = RegisterInstanceRequest {
            instance: Some(Instance {
                service: "web".into(),
                instance_id: id.clone(),
                address: "10.0.0.1".into(),
                ..Instance::default()
            }),
            liveness: Some(Liveness::Persistent(true)),
            ..RegisterInstanceRequest::default()
        };
        if registry.register_instance(register).await.is_err() {
            return;
        }
        acknowledged.instances.lock().unwrap().push(id);
        acknowledged.count.fetch_add(1, Ordering::SeqCst);
    }
}

// === impl Acknowledged ===

impl Acknowledged {
    /// Asserts that a server has it all.
    async fn is_at(&self, channel: Channel) {
        let mut configs = ConfigServiceClient::new(channel.clone());
        let mut registry = RegistryServiceClient::new(channel);
        let expected = self.configs.lock().unwrap().clone();
        for (key, version) in expected {
            let get = GetConfigRequest {
                key: key.clone(),
                ..GetConfigRequest::default()
            };
            let found = configs.get_config(get).await.unwrap().into_inner();
            let found = found.config.unwrap();
            // What was not acknowledged may be there, and nothing else.
            let after = found.version - version;
            assert!((0..=1).contains(&after), "{key}: {version}, {found:?}");
            assert_eq!(found.content, (found.version - 1).to_string());
        }
        let expected = self.instances.lock().unwrap().clone();
        for instance_id in expected {
            let get = GetInstanceRequest {
                service: "web".into(),
                instance_id: instance_id.clone(),
                ..GetInstanceRequest::default()
            };
            let found = registry.get_instance(get).await;
            assert!(found.is_ok(), "{instance_id} is lost: {found:?}");
        }
    }
}
