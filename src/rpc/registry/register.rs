//! The answers to registrations.

use std::{sync::Arc, time::Instant};

use stanchion_client::proto::{
    BatchRegisterInstancesRequest, BatchRegisterInstancesResponse, RegisterInstanceRequest,
    RegisterInstanceResponse, RegisterOutcome, register_outcome::Outcome,
};
use tonic::{Response, Status};

use crate::{
    domain::{
        Error,
        registry::{Instance, Registered, Support},
    },
    rpc::{convert::wire_duration, status},
};

use super::{
    RegistryHandler,
    decode::{batch_request, register_request},
    encode::{wire_error, wire_instance},
};

// === impl RegistryHandler ===

impl RegistryHandler {
    /// Registers an instance.
    pub(super) async fn register(
        &self,
        request: RegisterInstanceRequest,
    ) -> Result<Response<RegisterInstanceResponse>, Status> {
        let received = self.context.core.clock.now();
        let (instance, terms) = register_request(request)?;
        let registered = self.registry.register(vec![instance], terms).await;
        let (instance, support, revision) = single(registered).map_err(status::of)?;
        let (session_id, ttl, valid_for) = carrier(support, received);
        Ok(Response::new(RegisterInstanceResponse {
            header: Some(self.context.header.at(revision)),
            instance: Some(wire_instance(&instance)),
            session_id,
            ttl,
            valid_for,
        }))
    }

    /// Registers several instances; each has an outcome of its own.
    pub(super) async fn register_all(
        &self,
        request: BatchRegisterInstancesRequest,
    ) -> Result<Response<BatchRegisterInstancesResponse>, Status> {
        let received = self.context.core.clock.now();
        let (instances, terms) = batch_request(request)?;
        let registered = self.registry.register(instances, terms).await;
        let registered = registered.map_err(status::of)?;
        let outcome = |outcome: Result<Arc<Instance>, Error>| RegisterOutcome {
            outcome: Some(match outcome {
                Ok(instance) => Outcome::Instance(wire_instance(&instance)),
                Err(error) => Outcome::Error(wire_error(&error)),
            }),
        };
        let (session_id, ttl, valid_for) = carrier(registered.support, received);
        Ok(Response::new(BatchRegisterInstancesResponse {
            header: Some(self.context.header.at(registered.revision)),
            outcomes: registered.outcomes.into_iter().map(outcome).collect(),
            session_id,
            ttl,
            valid_for,
        }))
    }
}

/// The outcome of a registration of one instance.
fn single(
    registered: Result<Registered, Error>,
) -> Result<(Arc<Instance>, Option<Support>, i64), Error> {
    let mut registered = registered?;
    match registered.outcomes.pop() {
        Some(outcome) => Ok((outcome?, registered.support, registered.revision)),
        None => Err(Error::Internal("a registration without an outcome".into())),
    }
}

/// What an answer says of the session behind a registration.
fn carrier(
    support: Option<Support>,
    received: Instant,
) -> (
    String,
    Option<prost_types::Duration>,
    Option<prost_types::Duration>,
) {
    match support {
        None => (String::new(), None, None),
        Some(support) => (
            support.session.id.to_text(),
            Some(wire_duration(support.session.ttl)),
            // The caller counts from when it sent the request, which was before we received it.
            support
                .valid_until
                .map(|until| wire_duration(until.saturating_duration_since(received))),
        ),
    }
}
