//! What is registered: one service of 100 instances, and one of one.

use prost_types::Duration;
use stanchion::{
    proto::server::registry_service_server::RegistryService, rpc::registry::RegistryHandler,
};
use stanchion_client::proto::{
    BatchRegisterInstancesRequest, Instance, Port, batch_register_instances_request::Liveness,
    register_outcome::Outcome,
};
use tonic::Request;

use crate::error::CountError;

/// The namespace of both.
pub(crate) const NAMESPACE: &str = "bench";
/// The service of 100 instances.
pub(crate) const LARGE_SERVICE: &str = "orders";
/// What the keys of its instances begin with.
pub(crate) const LARGE_PATH: &[u8] = b"bench/orders/";
/// How many it has.
pub(crate) const LARGE: usize = 100;
/// The service of one instance.
pub(crate) const SMALL_SERVICE: &str = "billing";

/// The least that is told of an instance, in bytes.
pub(crate) const INSTANCE_BYTES: usize = 100;

/// How many are registered with one call.
const BATCH: usize = 50;

/// Registers all of them.
pub(crate) async fn register(handler: &RegistryHandler) -> Result<(), CountError> {
    let all: Vec<_> = (0..LARGE)
        .map(|number| instance(LARGE_SERVICE, number))
        .chain([instance(SMALL_SERVICE, 0)])
        .collect();
    for batch in all.chunks(BATCH) {
        let request = BatchRegisterInstancesRequest {
            namespace: NAMESPACE.into(),
            instances: batch.to_vec(),
            liveness: Some(Liveness::Ttl(Duration {
                seconds: 60,
                nanos: 0,
            })),
            ..BatchRegisterInstancesRequest::default()
        };
        let answer = handler
            .batch_register_instances(Request::new(request))
            .await?;
        for outcome in answer.into_inner().outcomes {
            if !matches!(outcome.outcome, Some(Outcome::Instance(_))) {
                return Err(CountError::unexpected(format!("{outcome:?}")));
            }
        }
    }
    Ok(())
}

/// An instance as `make bench` registers them.
fn instance(service: &str, number: usize) -> Instance {
    Instance {
        service: service.into(),
        instance_id: format!("instance-{number:05}"),
        address: format!("10.0.0.{number}"),
        ports: vec![Port {
            name: "http".into(),
            port: 8080,
            protocol: "http".into(),
        }],
        version: "1.4.2".into(),
        zone: "eu-1a".into(),
        metadata: [
            ("build", "2026-04-01T12:00:00Z-4f1c"),
            ("commit", "5d8c1f0e6a7b4c3d9e2f1a0b7c6d5e4f3a2b1c0d"),
        ]
        .map(|(key, value)| (key.into(), value.into()))
        .into(),
        ..Instance::default()
    }
}
