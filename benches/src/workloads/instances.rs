//! Instances that say the same in Stanchion and in etcd, and the calls that register and read them.

use prost::Message;
use stanchion_client::proto::{
    BatchRegisterInstancesRequest, BatchRegisterInstancesResponse, Consistency, Instance,
    ListInstancesRequest, Port, batch_register_instances_request, register_outcome,
};

use super::busy::call;
use crate::{
    BenchError,
    etcd::{PutRequest, RangeRequest, path},
    http2::{Call, Connection, Requests, Windows},
    wire::{Dialect, end_of},
};

/// Lists the instances of a service.
pub(crate) const LIST: &str = "/stanchion.v1.RegistryService/ListInstances";

/// Registers several instances.
pub(crate) const REGISTER_BATCH: &str = "/stanchion.v1.RegistryService/BatchRegisterInstances";

/// The most instances that a batch may hold.
const BATCH: usize = 64;

/// An instance that says so much of itself that its record in etcd, with its key and what etcd adds,
/// takes about 190 bytes.
pub(crate) fn instance(service: &str, number: u64) -> Instance {
    Instance {
        service: service.to_owned(),
        instance_id: format!("instance-{number:05}"),
        address: format!("10.0.{}.{}", number / 256 % 256, number % 256),
        ports: vec![Port {
            name: "http".to_owned(),
            port: 8080,
            protocol: "http".to_owned(),
        }],
        version: "1.4.2".to_owned(),
        zone: "eu-1a".to_owned(),
        metadata: [
            ("build", "2026-04-01T12:00:00Z-4f1c"),
            ("commit", "5d8c1f0e6a7b4c3d9e2f1a0b7c6d5e4f3a2b1c0d"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into(),
        ..Instance::default()
    }
}

/// What the keys of a service's instances begin with in etcd.
pub(crate) fn prefix(service: &str) -> String {
    format!("/instances/{service}/")
}

/// The call that writes an instance to etcd, as a program would that uses etcd itself.
pub(crate) fn put(service: &str, number: u64, lease: i64) -> Call {
    let instance = instance(service, number);
    let request = PutRequest {
        key: format!("{}{}", prefix(service), instance.instance_id).into(),
        value: instance.encode_to_vec(),
        lease,
    };
    unary(path::PUT, &request)
}

/// The call that reads all instances of a service from etcd.
pub(crate) fn range(service: &str, serializable: bool) -> Call {
    let key = prefix(service).into_bytes();
    let range_end = end_of(&key);
    let request = RangeRequest {
        key,
        range_end,
        serializable,
    };
    unary(path::RANGE, &request)
}

/// The call that reads them from Stanchion.
pub(crate) fn list(service: &str, consistency: Consistency) -> Call {
    let request = ListInstancesRequest {
        service: service.to_owned(),
        page_size: 1000,
        consistency: consistency.into(),
        ..ListInstancesRequest::default()
    };
    unary(LIST, &request)
}

/// A call with one request.
pub(crate) fn unary(path: &str, message: &impl Message) -> Call {
    Call::new(path, &message.encode_to_vec(), Requests::One)
}

/// Registers so many instances that need no session.
pub(crate) async fn register(
    port: u16,
    dialect: Dialect,
    service: &str,
    count: u64,
) -> Result<(), BenchError> {
    let mut connection = Connection::open(port, Windows::Large).await?;
    if dialect == Dialect::Etcd {
        for number in 0..count {
            call(&mut connection, &put(service, number, 0)).await?;
        }
        return Ok(());
    }
    let instances: Vec<_> = (0..count).map(|number| instance(service, number)).collect();
    for batch in instances.chunks(BATCH) {
        register_batch(&mut connection, batch.to_vec()).await?;
    }
    Ok(())
}

/// Registers a batch in Stanchion, for good.
pub(crate) async fn register_batch(
    connection: &mut Connection,
    instances: Vec<Instance>,
) -> Result<(), BenchError> {
    use batch_register_instances_request::Liveness;
    let request = BatchRegisterInstancesRequest {
        instances,
        liveness: Some(Liveness::Persistent(true)),
        ..BatchRegisterInstancesRequest::default()
    };
    let answer = call(connection, &unary(REGISTER_BATCH, &request)).await?;
    let answer = BatchRegisterInstancesResponse::decode(answer).map_err(undecodable)?;
    for outcome in answer.outcomes {
        if let Some(register_outcome::Outcome::Error(error)) = outcome.outcome {
            let why = format!("an instance is refused: {}", error.message);
            return Err(BenchError::failed(why));
        }
    }
    Ok(())
}

/// Says that an answer is no message of its kind.
pub(crate) fn undecodable(error: prost::DecodeError) -> BenchError {
    BenchError::failed(format!("an answer cannot be decoded: {error}"))
}
