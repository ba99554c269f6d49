//! What is decided about instances.

use std::collections::BTreeMap;

use stanchion_client::proto::{
    Consistency, EventType, GetInstanceRequest, GetInstanceResponse, InstanceDecision,
    InstanceOverlay, InstanceView, ListInstancesRequest, OperatorState, SetInstanceOverlayRequest,
    SetInstanceOverlayResponse, SetInstanceStateRequest, SetInstanceStateResponse,
    WatchInstancesRequest, watch_instances_response::Message,
};
use tonic::{Code, Status};

use crate::support::server::{Backend, Server, assert_invalid, assert_status, on_both_stores};

use super::{deregister, open, register};

on_both_stores! {
    an_isolated_instance_stays_out_when_it_registers_again_until_it_is_restored,
    an_instance_can_be_isolated_before_it_registers,
    an_overlay_is_shown_to_watchers_at_once_and_says_what_was_registered,
    the_same_decision_again_changes_nothing,
    stale_decisions_are_refused,
    bad_decisions_are_refused_by_field,
}

async fn set_state(
    server: &Server,
    request: SetInstanceStateRequest,
) -> Result<SetInstanceStateResponse, Status> {
    let response = server.operators().set_instance_state(request).await?;
    Ok(response.into_inner())
}

async fn set_overlay(
    server: &Server,
    request: SetInstanceOverlayRequest,
) -> Result<SetInstanceOverlayResponse, Status> {
    let response = server.operators().set_instance_overlay(request).await?;
    Ok(response.into_inner())
}

fn state(state: OperatorState) -> SetInstanceStateRequest {
    SetInstanceStateRequest {
        service: "web".into(),
        instance_id: "a".into(),
        state: state.into(),
        comment: "disk fails".into(),
        actor: "ann".into(),
        ..SetInstanceStateRequest::default()
    }
}

fn showing(overlay: InstanceOverlay) -> SetInstanceOverlayRequest {
    SetInstanceOverlayRequest {
        service: "web".into(),
        instance_id: "a".into(),
        overlay: Some(overlay),
        comment: "too slow".into(),
        actor: "bob".into(),
        ..SetInstanceOverlayRequest::default()
    }
}

async fn get(server: &Server) -> GetInstanceResponse {
    let request = GetInstanceRequest {
        service: "web".into(),
        instance_id: "a".into(),
        consistency: Consistency::Linearizable.into(),
        ..GetInstanceRequest::default()
    };
    let response = server.registry().get_instance(request).await.unwrap();
    response.into_inner()
}

async fn serving(server: &Server) -> usize {
    let request = ListInstancesRequest {
        service: "web".into(),
        consistency: Consistency::Linearizable.into(),
        ..ListInstancesRequest::default()
    };
    let list = server.registry().list_instances(request).await.unwrap();
    list.into_inner().instances.len()
}

async fn an_isolated_instance_stays_out_when_it_registers_again_until_it_is_restored(
    backend: Backend,
) {
    let server = backend.server().await;
    let session = open(&server).await;
    let registered = register(&server, &session, "default/web/a").await.unwrap();
    let isolated = set_state(&server, state(OperatorState::Isolated)).await;
    let decision = isolated.unwrap().decision.unwrap();
    let expected = InstanceDecision {
        operator_state: OperatorState::Isolated.into(),
        author: "ann".into(),
        comment: "disk fails".into(),
        update_time: decision.update_time,
        overlay: None,
        revision: decision.revision,
    };
    assert_eq!(decision, expected);
    assert_eq!(serving(&server).await, 0);

    deregister(&server, "default/web/a").await;
    register(&server, &session, "default/web/a").await.unwrap();
    let got = get(&server).await;
    let instance = got.instance.unwrap();
    assert_eq!(instance.operator_state(), OperatorState::Isolated);
    assert!(instance.revision > registered.revision);
    assert_eq!((got.decision, got.registered), (Some(decision), None));
    assert_eq!(serving(&server).await, 0);

    let restored = set_state(&server, state(OperatorState::Active)).await;
    let restored = restored.unwrap();
    assert_eq!((restored.decision, restored.unchanged), (None, false));
    assert_eq!(serving(&server).await, 1);
    assert_eq!(get(&server).await.decision, None);
    server.stop().await;
}

async fn an_instance_can_be_isolated_before_it_registers(backend: Backend) {
    let server = backend.server().await;
    let isolated = set_state(&server, state(OperatorState::Isolated)).await;
    assert!(!isolated.unwrap().unchanged);
    let session = open(&server).await;
    let registered = register(&server, &session, "default/web/a").await.unwrap();
    assert_eq!(registered.operator_state(), OperatorState::Isolated);
    assert!(!registered.serving);
    server.stop().await;
}

async fn an_overlay_is_shown_to_watchers_at_once_and_says_what_was_registered(backend: Backend) {
    let server = backend.server().await;
    let registered = register(&server, "", "default/web/a").await.unwrap();
    let request = WatchInstancesRequest {
        service: "web".into(),
        view: InstanceView::Serving.into(),
        ..WatchInstancesRequest::default()
    };
    let watch = server.registry().watch_instances(request).await.unwrap();
    let mut watch = watch.into_inner();
    let mut next_delta = async || loop {
        let message = watch.message().await.unwrap().unwrap().message.unwrap();
        if let Message::Delta(delta) = message {
            let [event] = delta.events.try_into().unwrap();
            return (event.r#type(), event.instance.unwrap());
        }
    };
    let overlay = InstanceOverlay {
        weight: Some(10),
        metadata: [("tier".to_owned(), "slow".to_owned())].into(),
        hidden_metadata: vec!["color".into()],
        ..InstanceOverlay::default()
    };
    let set = set_overlay(&server, showing(overlay.clone())).await;
    let decision = set.unwrap().decision.unwrap();
    let (kind, shown) = next_delta().await;
    assert_eq!(kind, EventType::Modified);
    assert_eq!(
        (shown.weight, &shown.metadata),
        (Some(10), &overlay.metadata)
    );
    // The registration is as it was.
    assert_eq!(shown.revision, registered.revision);
    let got = get(&server).await;
    assert_eq!(got.registered, Some(registered.clone()));
    assert_eq!(got.instance, Some(shown));
    assert_eq!(got.decision.as_ref(), Some(&decision));
    assert_eq!(decision.operator_state(), OperatorState::Active);
    let said = decision.overlay.unwrap();
    assert_eq!(
        (said.author.as_str(), said.comment.as_str()),
        ("bob", "too slow")
    );

    let cleared = set_overlay(&server, showing(InstanceOverlay::default())).await;
    assert_eq!(cleared.unwrap().decision, None);
    assert_eq!(next_delta().await, (EventType::Modified, registered));
    server.stop().await;
}

async fn the_same_decision_again_changes_nothing(backend: Backend) {
    let server = backend.server().await;
    let named = SetInstanceStateRequest {
        request_id: "one".into(),
        expected_revision: Some(0),
        ..state(OperatorState::Isolated)
    };
    let first = set_state(&server, named.clone()).await.unwrap();
    for request in [named, state(OperatorState::Isolated)] {
        let again = set_state(&server, request).await.unwrap();
        assert!(again.unchanged);
        assert_eq!(again.decision, first.decision);
    }
    let overlay = InstanceOverlay {
        weight: Some(0),
        ..InstanceOverlay::default()
    };
    let first = set_overlay(&server, showing(overlay.clone()))
        .await
        .unwrap();
    let again = set_overlay(&server, showing(overlay)).await.unwrap();
    assert!(again.unchanged);
    assert_eq!(again.decision, first.decision);
    let active = state(OperatorState::Active);
    assert!(!set_state(&server, active.clone()).await.unwrap().unchanged);
    let again = set_state(&server, active).await.unwrap();
    assert!(again.unchanged && again.decision.unwrap().overlay.is_some());
    server.stop().await;
}

async fn stale_decisions_are_refused(backend: Backend) {
    let server = backend.server().await;
    let isolated = set_state(&server, state(OperatorState::Isolated)).await;
    let revision = isolated.unwrap().decision.unwrap().revision;
    let expecting = |expected_revision| SetInstanceStateRequest {
        expected_revision: Some(expected_revision),
        ..state(OperatorState::Active)
    };
    for stale in [0, revision - 1] {
        let refused = set_state(&server, expecting(stale)).await.unwrap_err();
        assert_status(&refused, Code::Aborted, "REVISION_MISMATCH");
    }
    assert!(
        !set_state(&server, expecting(revision))
            .await
            .unwrap()
            .unchanged
    );
    server.stop().await;
}

async fn bad_decisions_are_refused_by_field(backend: Backend) {
    let server = backend.server().await;
    let base = state(OperatorState::Isolated);
    let cases = [
        (
            SetInstanceStateRequest {
                service: String::new(),
                ..base.clone()
            },
            "service",
        ),
        (
            SetInstanceStateRequest {
                instance_id: "a/b".into(),
                ..base.clone()
            },
            "instance_id",
        ),
        (state(OperatorState::Unspecified), "state"),
        (state(OperatorState::Draining), "state"),
        (
            SetInstanceStateRequest {
                comment: "x".repeat(1025),
                ..base.clone()
            },
            "comment",
        ),
        (
            SetInstanceStateRequest {
                actor: "x".repeat(254),
                ..base
            },
            "actor",
        ),
    ];
    for (request, field) in cases {
        assert_invalid(&set_state(&server, request).await.unwrap_err(), field);
    }
    let many: BTreeMap<_, _> = (0..65).map(|n| (n.to_string(), String::new())).collect();
    let with = |change: &dyn Fn(&mut InstanceOverlay)| {
        let mut overlay = InstanceOverlay::default();
        change(&mut overlay);
        showing(overlay)
    };
    let cases = [
        (with(&|o| o.weight = Some(10_001)), "overlay.weight"),
        (with(&|o| o.metadata = many.clone()), "overlay.metadata"),
        (
            with(&|o| o.hidden_metadata = many.keys().cloned().collect()),
            "overlay.hidden_metadata",
        ),
        (
            with(&|o| o.hidden_metadata = vec![String::new()]),
            "overlay.hidden_metadata",
        ),
        (
            with(&|o| {
                o.metadata = [("k".to_owned(), String::new())].into();
                o.hidden_metadata = vec!["k".into()];
            }),
            "overlay.hidden_metadata",
        ),
    ];
    for (request, field) in cases {
        assert_invalid(&set_overlay(&server, request).await.unwrap_err(), field);
    }
    server.stop().await;
}
