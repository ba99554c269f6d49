//! The release of a brake.

use stanchion_client::proto::{ReleaseBrakeRequest, ReleaseBrakeResponse};
use tonic::{Response, Status};

use crate::{
    domain::{audit::Caller, registry::ReleaseBrake},
    rpc::{convert::Violations, status},
};

use super::{OperatorHandler, services::service_key};

pub(super) async fn release(
    handler: &OperatorHandler,
    request: ReleaseBrakeRequest,
    caller: Caller,
) -> Result<Response<ReleaseBrakeResponse>, Status> {
    let mut v = Violations::new();
    let key = service_key(&mut v, &request.namespace, &request.service);
    let guard = v.guard(request.guard, &request.namespace);
    let actor = v.label("actor", &request.actor);
    let comment = v.comment(request.comment);
    let release = ReleaseBrake {
        key: v.give(key)?,
        guard,
        actor,
        caller,
        comment,
    };
    let released = handler.registry.release_brake(release).await;
    let released = released.map_err(status::of)?;
    Ok(Response::new(ReleaseBrakeResponse {
        header: Some(handler.context.header.at(released.revision)),
        released: released.released,
        released_until: released.until.map(Into::into),
    }))
}
