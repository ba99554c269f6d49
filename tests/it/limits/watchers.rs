//! What many watchers cost etcd: nothing.

use stanchion_client::proto::{
    GetServerInfoRequest, PutConfigRequest, WatchConfigsRequest, WatchInstancesRequest,
    config_service_client::ConfigServiceClient, registry_service_client::RegistryServiceClient,
    watch_configs_request::Selection, watch_configs_response::Message,
};
use tokio::time::timeout;

use crate::support::{
    etcd::Etcd,
    server::{Backend, connect, eventually},
    store::PATIENCE,
};

/// How many watch streams of each of two kinds.
const STREAMS: usize = 500;
/// The one watch that a replica has, whoever watches it.
const WATCHERS: &str = "etcd_debugging_mvcc_watcher_total";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_watch_streams_are_one_watcher_of_etcd() {
    let etcd = Etcd::start().await;
    let backend = Backend::on(etcd.endpoints(), ());
    let server = backend.server().await;
    assert_eq!(watchers(&etcd).await, 1);

    let channel = connect(server.address).await;
    let (mut configs, mut instances) = (Vec::new(), Vec::new());
    for number in 0..STREAMS {
        let key = format!("key-{}", number % 10);
        let request = WatchConfigsRequest {
            selection: Some(Selection::Key(key)),
            ..WatchConfigsRequest::default()
        };
        let mut client = ConfigServiceClient::new(channel.clone());
        let watch = client.watch_configs(request).await;
        configs.push(watch.unwrap().into_inner());
        let request = WatchInstancesRequest {
            service: format!("service-{number}"),
            ..WatchInstancesRequest::default()
        };
        let mut client = RegistryServiceClient::new(channel.clone());
        let watch = client.watch_instances(request).await;
        instances.push(watch.unwrap().into_inner());
    }
    for watch in &mut instances {
        timeout(PATIENCE, watch.message()).await.unwrap().unwrap();
    }
    assert_eq!(watchers(&etcd).await, 1);

    // All of them are fed from it.
    for number in 0..10 {
        let put = PutConfigRequest {
            key: format!("key-{number}"),
            content: "new".into(),
            ..PutConfigRequest::default()
        };
        server.configs().put_config(put).await.unwrap();
    }
    for watch in &mut configs {
        let told = timeout(PATIENCE, async {
            loop {
                let message = watch.message().await.unwrap().unwrap().message.unwrap();
                let configs = match message {
                    Message::Snapshot(snapshot) => snapshot.configs,
                    Message::Delta(delta) => {
                        let configs = delta.events.into_iter().map(|event| event.config.unwrap());
                        configs.collect()
                    }
                    _ => continue,
                };
                if configs.iter().any(|config| config.content == "new") {
                    return;
                }
            }
        });
        told.await.expect("not told in time");
    }
    assert_eq!(watchers(&etcd).await, 1);
    // And the connection has room for calls besides.
    let request = GetServerInfoRequest {};
    server.server_info().get_server_info(request).await.unwrap();
    // Another replica has one as well.
    let other = backend.server().await;
    assert_eq!(watchers(&etcd).await, 2);
    other.stop().await;
}

/// How many watchers etcd has, once it has made up its mind.
async fn watchers(etcd: &Etcd) -> u64 {
    eventually("the count to settle", || async {
        let count = etcd.metric(WATCHERS);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        (count > 0.0 && etcd.metric(WATCHERS) == count).then_some(count as u64)
    })
    .await
}
