//! Pins of versions.

use stanchion_client::proto::{
    ConfigPin, PinConfigVersionRequest, PinConfigVersionResponse, UnpinConfigVersionRequest,
    UnpinConfigVersionResponse,
};
use tonic::Status;

use crate::{
    domain::{
        audit::Caller,
        config::{Pin, Pinning},
        keyspace::ConfigPath,
    },
    rpc::{convert::Violations, status},
};

use super::{ConfigHandler, decode};

/// What either request asks for: they have the same fields.
macro_rules! pinning {
    ($request:ident, $caller:expr) => {{
        let mut fields = Violations::new();
        let path = decode::path(&mut fields, &$request.namespace, &$request.key);
        decode::positive(&mut fields, "version", $request.version);
        let guard = fields.guard($request.guard, &$request.namespace);
        let actor = fields.label("actor", &$request.actor);
        let comment = fields.comment($request.comment);
        Pinning {
            path: fields.give(path)?,
            version: $request.version,
            guard,
            actor,
            caller: $caller,
            comment,
            validate_only: $request.validate_only,
        }
    }};
}

// === impl ConfigHandler ===

impl ConfigHandler {
    pub(super) async fn pin(
        &self,
        request: PinConfigVersionRequest,
        caller: Caller,
    ) -> Result<PinConfigVersionResponse, Status> {
        let pinning = pinning!(request, caller);
        let done = self.configs.pin(&pinning).await;
        let (pin, changed, revision) = done.map_err(status::of)?;
        Ok(PinConfigVersionResponse {
            header: Some(self.context.header.at(revision)),
            pin: Some(wire(&pinning.path, pinning.version, &pin)),
            unchanged: !changed,
        })
    }

    pub(super) async fn unpin(
        &self,
        request: UnpinConfigVersionRequest,
        caller: Caller,
    ) -> Result<UnpinConfigVersionResponse, Status> {
        let pinning = pinning!(request, caller);
        let done = self.configs.unpin(&pinning).await;
        let (unpinned, revision) = done.map_err(status::of)?;
        Ok(UnpinConfigVersionResponse {
            header: Some(self.context.header.at(revision)),
            unpinned,
        })
    }
}

fn wire(path: &ConfigPath, version: i64, pin: &Pin) -> ConfigPin {
    ConfigPin {
        namespace: path.namespace.to_string(),
        key: path.key.to_string(),
        version,
        author: pin.actor.to_string(),
        comment: pin.comment.clone(),
        create_time: Some(pin.create_time.into()),
        revision: pin.revision,
    }
}
