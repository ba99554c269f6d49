//! What is decided about instances.

use std::collections::BTreeSet;

use stanchion_client::proto::{
    self, SetInstanceOverlayRequest, SetInstanceOverlayResponse, SetInstanceStateRequest,
    SetInstanceStateResponse,
};
use tonic::{Response, Status};

use crate::{
    domain::{
        Revised,
        audit::Caller,
        names::MAX_NAME,
        registry::{Decided, Decision, Operator, Overlay},
    },
    rpc::{
        convert::Violations,
        registry::{fields, instance_key, wire_decision},
        status,
    },
};

use super::OperatorHandler;

pub(super) async fn set_state(
    handler: &OperatorHandler,
    request: SetInstanceStateRequest,
    caller: Caller,
) -> Result<Response<SetInstanceStateResponse>, Status> {
    let decided = decide(handler, state_request(request, caller)?).await?;
    Ok(Response::new(SetInstanceStateResponse {
        header: Some(handler.context.header.at(decided.revision)),
        decision: decided.value.as_ref().map(wire_decision),
        unchanged: !decided.changed,
    }))
}

pub(super) async fn set_overlay(
    handler: &OperatorHandler,
    request: SetInstanceOverlayRequest,
    caller: Caller,
) -> Result<Response<SetInstanceOverlayResponse>, Status> {
    let decided = decide(handler, overlay_request(request, caller)?).await?;
    Ok(Response::new(SetInstanceOverlayResponse {
        header: Some(handler.context.header.at(decided.revision)),
        decision: decided.value.as_ref().map(wire_decision),
        unchanged: !decided.changed,
    }))
}

async fn decide(
    handler: &OperatorHandler,
    decision: Decision,
) -> Result<Revised<Option<Operator>>, Status> {
    let decided = handler.registry.decide(decision).await;
    decided.map_err(status::of)
}

fn state_request(request: SetInstanceStateRequest, caller: Caller) -> Result<Decision, Status> {
    let mut v = Violations::new();
    let what = match request.state() {
        proto::OperatorState::Active => Decided::Active,
        proto::OperatorState::Isolated => Decided::Isolated,
        proto::OperatorState::Unspecified | proto::OperatorState::Draining => {
            v.add("state", "must be active or isolated");
            Decided::Active
        }
    };
    let (namespace, service) = (&request.namespace, &request.service);
    let key = instance_key(&mut v, ("", namespace), service, &request.instance_id);
    let expected_revision = v.expected_revision(request.expected_revision, 0);
    let request_id = v.request_id(&request.request_id);
    let guard = v.guard(request.guard, namespace);
    let actor = v.label("actor", &request.actor);
    let comment = v.comment(request.comment);
    Ok(Decision {
        key: v.give(key)?,
        what,
        comment,
        expected_revision,
        request_id,
        guard,
        actor,
        caller,
    })
}

fn overlay_request(request: SetInstanceOverlayRequest, caller: Caller) -> Result<Decision, Status> {
    let mut v = Violations::new();
    let what = Decided::Shown(overlay(&mut v, request.overlay.unwrap_or_default()));
    let (namespace, service) = (&request.namespace, &request.service);
    let key = instance_key(&mut v, ("", namespace), service, &request.instance_id);
    let expected_revision = v.expected_revision(request.expected_revision, 0);
    let request_id = v.request_id(&request.request_id);
    let guard = v.guard(request.guard, namespace);
    let actor = v.label("actor", &request.actor);
    let comment = v.comment(request.comment);
    Ok(Decision {
        key: v.give(key)?,
        what,
        comment,
        expected_revision,
        request_id,
        guard,
        actor,
        caller,
    })
}

fn overlay(v: &mut Violations, overlay: proto::InstanceOverlay) -> Overlay {
    let hidden: BTreeSet<_> = overlay.hidden_metadata.into_iter().collect();
    let field = "overlay.hidden_metadata";
    if hidden.len() > fields::MAX_METADATA {
        v.add(field, format!("must be at most {}", fields::MAX_METADATA));
    }
    if hidden
        .iter()
        .any(|key| key.is_empty() || key.len() > MAX_NAME)
    {
        v.add(field, format!("must be 1 to {MAX_NAME} bytes each"));
    }
    if hidden.iter().any(|key| overlay.metadata.contains_key(key)) {
        v.add(field, "must not be shown as well");
    }
    Overlay {
        weight: overlay
            .weight
            .map(|weight| fields::weight(v, "overlay.weight", Some(weight))),
        metadata: fields::metadata(v, "overlay.metadata", overlay.metadata),
        hidden,
        ..Overlay::default()
    }
}
