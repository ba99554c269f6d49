//! What is decided at one replica, as the others tell it.

use bytes::Bytes;
use stanchion_client::proto::{
    Consistency, EventType, GetInstanceRequest, Instance, InstanceOverlay, ListInstancesRequest,
    Locality, LocalityTier, NamespaceSettings, OperatorState, PutNamespaceRequest,
    PutServiceRequest, RegisterInstanceRequest, ServiceSettings, SetInstanceOverlayRequest,
    SetInstanceStateRequest, WatchInstancesRequest, WatchInstancesResponse, WatchStart,
    register_instance_request::Liveness, watch_instances_response::Message, watch_start::Position,
};
use tokio::time::timeout;
use tonic::{Code, Streaming};

use crate::support::{
    server::{Backend, Server, assert_status, on_both_stores},
    store::PATIENCE,
};

use super::{register, seconds};

on_both_stores! {
    every_replica_tells_the_same_of_what_was_decided_at_another,
    a_filtered_watch_that_moves_from_replica_to_replica_misses_no_decision,
    a_quota_holds_whoever_is_asked,
}

async fn three(backend: &Backend) -> [Server; 3] {
    let one = backend.server().await;
    [one, backend.server().await, backend.server().await]
}

async fn place(server: &Server, id: &str, zone: &str) {
    let request = RegisterInstanceRequest {
        instance: Some(Instance {
            service: "web".into(),
            instance_id: id.into(),
            address: "10.0.0.1".into(),
            region: "east".into(),
            zone: zone.into(),
            ..Instance::default()
        }),
        liveness: Some(Liveness::Persistent(true)),
        ..RegisterInstanceRequest::default()
    };
    server.registry().register_instance(request).await.unwrap();
}

async fn decide(server: &Server, id: &str, state: OperatorState) {
    let request = SetInstanceStateRequest {
        service: "web".into(),
        instance_id: id.into(),
        state: state.into(),
        ..SetInstanceStateRequest::default()
    };
    server
        .operators()
        .set_instance_state(request)
        .await
        .unwrap();
}

fn listing(filter: &str, locality: Option<Locality>) -> ListInstancesRequest {
    ListInstancesRequest {
        service: "web".into(),
        filter: filter.into(),
        locality,
        consistency: Consistency::Linearizable.into(),
        ..ListInstancesRequest::default()
    }
}

async fn listed(server: &Server, request: ListInstancesRequest) -> Vec<Instance> {
    let list = server.registry().list_instances(request).await.unwrap();
    list.into_inner().instances
}

fn ids(instances: &[Instance]) -> Vec<&str> {
    instances.iter().map(|i| i.instance_id.as_str()).collect()
}

async fn every_replica_tells_the_same_of_what_was_decided_at_another(backend: Backend) {
    let servers = three(&backend).await;
    for (server, id, zone) in [
        (&servers[0], "a", "1"),
        (&servers[1], "b", "2"),
        (&servers[2], "c", "2"),
        (&servers[0], "d", "1"),
    ] {
        place(server, id, zone).await;
    }
    let slow_start = PutServiceRequest {
        service: "web".into(),
        settings: Some(ServiceSettings {
            slow_start: Some(seconds(3600)),
            ..ServiceSettings::default()
        }),
        ..PutServiceRequest::default()
    };
    servers[1]
        .operators()
        .put_service(slow_start)
        .await
        .unwrap();
    decide(&servers[2], "d", OperatorState::Isolated).await;
    let overlay = SetInstanceOverlayRequest {
        service: "web".into(),
        instance_id: "b".into(),
        overlay: Some(InstanceOverlay {
            weight: Some(7),
            ..InstanceOverlay::default()
        }),
        ..SetInstanceOverlayRequest::default()
    };
    servers[0]
        .operators()
        .set_instance_overlay(overlay)
        .await
        .unwrap();

    let near = Locality {
        region: "east".into(),
        zone: "2".into(),
        ..Locality::default()
    };
    let mut told = Vec::new();
    for server in &servers {
        let all = listed(server, listing("", None)).await;
        assert_eq!(ids(&all), ["a", "b", "c"]);
        assert_eq!(all[1].weight, Some(7));
        assert!(all.iter().all(|instance| instance.slow_start.is_some()));
        let filtered = listed(server, listing("zone == 3 or zone in (1, x)", None)).await;
        assert_eq!(ids(&filtered), ["a"]);
        let near = listed(server, listing("", Some(near.clone()))).await;
        let tiers: Vec<_> = near.iter().map(Instance::locality_tier).collect();
        assert_eq!(ids(&near), ["b", "c", "a"]);
        assert_eq!(tiers[..2], [LocalityTier::Zone; 2]);
        let get = GetInstanceRequest {
            service: "web".into(),
            instance_id: "d".into(),
            ..GetInstanceRequest::default()
        };
        let isolated = server.registry().get_instance(get).await.unwrap();
        let isolated = isolated.into_inner().instance.unwrap();
        assert_eq!(isolated.operator_state(), OperatorState::Isolated);
        // But for what time alone changes.
        let plain = |mut instance: Instance| {
            instance.effective_weight = None;
            instance
        };
        told.push(all.into_iter().map(plain).collect::<Vec<_>>());
    }
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0], told[2]);
    for server in servers {
        server.stop().await;
    }
}

/// One watch, at whichever replica.
struct Moving {
    stream: Streaming<WatchInstancesResponse>,
    token: Bytes,
}

// === impl Moving ===

impl Moving {
    async fn open(server: &Server, token: Option<Bytes>) -> Self {
        let request = WatchInstancesRequest {
            service: "web".into(),
            filter: "zone == 1".into(),
            start: token.clone().map(|token| WatchStart {
                position: Some(Position::ResumeToken(token)),
                ..WatchStart::default()
            }),
            ..WatchInstancesRequest::default()
        };
        let stream = server.registry().watch_instances(request).await.unwrap();
        Self {
            stream: stream.into_inner(),
            token: token.unwrap_or_default(),
        }
    }

    async fn snapshot(&mut self) -> Vec<String> {
        let mut shown = Vec::new();
        loop {
            match self.next().await {
                Message::Snapshot(part) => {
                    shown.extend(part.instances.into_iter().map(|i| i.instance_id));
                }
                Message::SnapshotEnd(_) => return shown,
                other => panic!("{other:?}"),
            }
        }
    }

    async fn event(&mut self) -> (String, EventType) {
        loop {
            match self.next().await {
                Message::Delta(delta) => {
                    assert!(!delta.conflated);
                    let [event] = &delta.events[..] else {
                        panic!("{delta:?}");
                    };
                    let id = event.instance.clone().unwrap().instance_id;
                    return (id, event.r#type());
                }
                Message::Bookmark(bookmark) => assert_eq!(bookmark.r#final, 0),
                other => panic!("{other:?}"),
            }
        }
    }

    async fn next(&mut self) -> Message {
        let message = timeout(PATIENCE, self.stream.message()).await.unwrap();
        let message = message.unwrap().expect("the stream ended");
        if !message.resume_token.is_empty() {
            self.token = message.resume_token;
        }
        message.message.unwrap()
    }
}

async fn a_filtered_watch_that_moves_from_replica_to_replica_misses_no_decision(backend: Backend) {
    let servers = three(&backend).await;
    place(&servers[0], "a", "1").await;
    place(&servers[0], "b", "2").await;
    let mut watch = Moving::open(&servers[0], None).await;
    assert_eq!(watch.snapshot().await, ["a"]);
    for turn in 0..6 {
        let (decides, watches) = (&servers[turn % 3], &servers[(turn + 1) % 3]);
        let token = watch.token.clone();
        drop(watch);
        // While nobody watches, and in another zone besides.
        let (state, told) = match turn % 2 {
            0 => (OperatorState::Isolated, EventType::Deleted),
            _ => (OperatorState::Active, EventType::Added),
        };
        decide(decides, "b", state).await;
        decide(decides, "a", state).await;
        watch = Moving::open(watches, Some(token)).await;
        assert_eq!(watch.event().await, ("a".to_owned(), told));
    }
    drop(watch);
    for server in servers {
        server.stop().await;
    }
}

async fn a_quota_holds_whoever_is_asked(backend: Backend) {
    let servers = three(&backend).await;
    let request = PutNamespaceRequest {
        namespace: "shop".into(),
        settings: Some(NamespaceSettings {
            max_instances: Some(2),
            ..NamespaceSettings::default()
        }),
        ..PutNamespaceRequest::default()
    };
    servers[0].operators().put_namespace(request).await.unwrap();
    register(&servers[1], "", "shop/web/a").await.unwrap();
    register(&servers[2], "", "shop/web/b").await.unwrap();
    for server in &servers {
        server.current().await;
        let refused = register(server, "", "shop/web/c").await.unwrap_err();
        assert_status(&refused, Code::ResourceExhausted, "QUOTA_EXCEEDED");
    }
    for server in servers {
        server.stop().await;
    }
}
