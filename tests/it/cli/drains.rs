//! `stanchion drain`, `subscribers`.

use stanchion_client::proto::WatchInstancesRequest;

use super::Shell;
use crate::support::server::{Backend, eventually};

const REGISTER: &str = "register web --address 10.0.0.1 --id a --ttl 30s";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_returns_when_everybody_knows_and_names_who_does_not() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    let registered = async || {
        let list = shell.json("instances web").await;
        (list["instances"][0]["instance_id"] == "a").then_some(())
    };
    let first = shell.start(REGISTER, &["cat"]);
    eventually("the instance", registered).await;
    let drained = shell.text("drain web/a --deadline 1m").await;
    assert_eq!(drained, "drained web/a, 0 subscribers know\n");
    let list = shell.json("instances web --all").await;
    assert_eq!(list["instances"], serde_json::json!([]));
    assert_eq!(shell.code("drain web/a").await, 3);
    drop(first);

    // Somebody who promises to acknowledge, and does not.
    let watching = WatchInstancesRequest {
        service: "web".into(),
        subscriber_id: "w".into(),
        acknowledges: true,
        client_id: "sleeper".into(),
        ..WatchInstancesRequest::default()
    };
    let stream = server.registry().watch_instances(watching).await.unwrap();
    let listed = shell.json("subscribers web").await;
    let subscriber = &listed["subscribers"][0];
    assert_eq!(subscriber["client_id"], "sleeper");
    assert_eq!(subscriber["acknowledges"], true);
    assert_eq!(subscriber["state"], "open");
    let _second = shell.start(REGISTER, &["cat"]);
    eventually("the instance", registered).await;
    let output = shell.run("drain web/a --deadline 1s -o json").await;
    assert_eq!(output.status.code(), Some(6));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["outcome"], "deadline");
    assert_eq!(told["laggards"][0]["client_id"], "sleeper");
    assert!(registered().await.is_none());
    drop(stream);
    server.stop().await;
}
