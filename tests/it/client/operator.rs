//! What operators decide, through the client.

use stanchion_client::{
    Client, Code, Options,
    proto::{InstanceOverlay, NamespaceSettings, OperatorState, ServiceName, ServiceSettings},
};

use crate::support::server::{Backend, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_discovery_follows_an_alias_and_what_is_decided_about_its_instances() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let endpoint = format!("http://{}", server.address);
    let client = Client::connect([endpoint], Options::default()).unwrap();
    let operator = client.operator();
    let blue = client
        .register("blue", "10.0.0.1")
        .id("b1")
        .start()
        .await
        .unwrap();
    let green = client
        .register("green", "10.0.0.2")
        .id("g1")
        .start()
        .await
        .unwrap();
    let to = |service: &str| ServiceSettings {
        alias_of: Some(ServiceName {
            service: service.into(),
            ..ServiceName::default()
        }),
        ..ServiceSettings::default()
    };
    operator
        .put_service("web", to("blue"), Some(0))
        .await
        .unwrap();
    let web = client.discover("web");
    web.ready().await.unwrap();
    let shows = async |id: &str| {
        eventually(id, async || {
            let instances = web.instances();
            let [only] = instances.as_slice() else {
                return None;
            };
            (only.instance_id == id).then(|| only.clone())
        })
        .await
    };
    shows("b1").await;
    operator
        .put_service("web", to("green"), None)
        .await
        .unwrap();
    shows("g1").await;

    let overlay = InstanceOverlay {
        weight: Some(3),
        ..InstanceOverlay::default()
    };
    operator
        .overlay("green", "g1", overlay, "slow")
        .await
        .unwrap();
    eventually("the weight", async || {
        (shows("g1").await.weight == Some(3)).then_some(())
    })
    .await;
    let isolated = operator.isolate("green", "g1", "disk").await.unwrap();
    assert_eq!(isolated.operator_state(), OperatorState::Isolated);
    eventually("nothing", async || web.instances().is_empty().then_some(())).await;
    let left = operator.restore("green", "g1").await.unwrap().unwrap();
    assert_eq!(left.overlay.unwrap().weight, Some(3));
    shows("g1").await;

    assert!(operator.delete_service("web").await.unwrap());
    let refused = operator.get_service("web").await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    let set = operator.put_namespace(NamespaceSettings::default(), None);
    assert!(!set.await.unwrap().unchanged);
    assert_eq!(operator.namespace().await.unwrap().instance_count, 2);
    assert_eq!(operator.namespaces().await.unwrap().len(), 1);
    assert!(operator.delete_namespace().await.is_err());
    blue.deregister().await.unwrap();
    green.deregister().await.unwrap();
}
