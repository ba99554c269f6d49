//! The answers to `GetInstance`.

use std::sync::Arc;

use stanchion_client::proto::{GetInstanceRequest, GetInstanceResponse};
use tonic::{Response, Status};

use crate::{
    domain::registry::Instance,
    rpc::{convert::Violations, status},
};

use super::{
    RegistryHandler,
    decode::key,
    encode::{wire_decision, wire_instance, wire_instance_at},
    health::wire_findings,
};

// === impl RegistryHandler ===

impl RegistryHandler {
    /// Gets an instance, with all that is known of it.
    pub(super) async fn get(
        &self,
        request: GetInstanceRequest,
    ) -> Result<Response<GetInstanceResponse>, Status> {
        let mut v = Violations::new();
        let freshness = v.freshness(request.consistency, request.min_revision);
        let key = key(
            &mut v,
            ("", &request.namespace),
            &request.service,
            &request.instance_id,
        );
        let key = v.give(key)?;
        let found = self.registry.get(&key, freshness).await;
        let (instance, view) = found.map_err(status::of)?;
        let now = self.context.core.clock.system_time();
        let (findings, damping) = wire_findings(
            view.state
                .health
                .get(key.path().as_bytes())
                .map(Arc::as_ref),
            &instance,
            view.state.checks_of(&instance.record),
            now,
        );
        let decided = view.state.operators.get(key.path().as_bytes());
        Ok(Response::new(GetInstanceResponse {
            header: Some(self.context.header.of(&view)),
            instance: Some(wire_instance_at(&instance, now)),
            findings,
            damping,
            decision: decided.map(|operator| wire_decision(operator)),
            registered: instance.overlaid.is_some().then(|| {
                let registered = Instance {
                    overlaid: None,
                    ..Instance::clone(&instance)
                };
                wire_instance(&Arc::new(registered))
            }),
        }))
    }
}
