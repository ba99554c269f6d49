//! Watches of services, and how many changes they deliver.

use std::{cell::Cell, convert::Infallible};

use prost::Message as _;
use stanchion_client::proto::{
    WatchInstancesRequest, WatchInstancesResponse, watch_instances_response::Message,
};

use crate::{
    BenchError,
    etcd::{WatchCreateRequest, WatchRequest, WatchResponse, path},
    http2::{Call, Connection, Event, Requests},
    wire::{Dialect, end_of},
    workloads::instances::{prefix, unary, undecodable},
};

const WATCH: &str = "/stanchion.v1.RegistryService/WatchInstances";

/// What all watchers count together.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Watches that have shown what there is.
    pub(super) standing: Cell<u64>,
    /// Changes since then.
    pub(super) delivered: Cell<u64>,
}

/// Watches all services over one connection, for good.
pub(super) async fn watch(
    connection: &mut Connection,
    dialect: Dialect,
    services: &[String],
    counts: &Counts,
) -> Result<Infallible, BenchError> {
    for service in services {
        connection.start(&request(dialect, service));
    }
    loop {
        let mut seen = Ok(());
        connection
            .exchange(|event| {
                let taken = match event {
                    Event::Message { message, .. } => counts.take(dialect, message),
                    Event::End { .. } => Err(BenchError::failed("a watch ended")),
                };
                if taken.is_err() {
                    seen = taken;
                }
            })
            .await?;
        seen?;
    }
}

/// The call that watches a service. etcd does not tell what there is: who wants to know it reads
/// before.
fn request(dialect: Dialect, service: &str) -> Call {
    match dialect {
        Dialect::Etcd => {
            let key = prefix(service).into_bytes();
            let range_end = end_of(&key);
            let create = Some(WatchCreateRequest {
                key,
                range_end,
                start_revision: 0,
            });
            let request = WatchRequest { create };
            Call::new(path::WATCH, &request.encode_to_vec(), Requests::Many)
        }
        Dialect::Stanchion => {
            let service = service.to_owned();
            let request = WatchInstancesRequest {
                service,
                ..WatchInstancesRequest::default()
            };
            unary(WATCH, &request)
        }
    }
}

// === impl Counts ===

impl Counts {
    /// Takes a message of a watch.
    fn take(&self, dialect: Dialect, message: &[u8]) -> Result<(), BenchError> {
        let (stands, events) = match dialect {
            Dialect::Etcd => {
                let answer = WatchResponse::decode(message).map_err(undecodable)?;
                (answer.created, answer.events.len())
            }
            Dialect::Stanchion => {
                let answer = WatchInstancesResponse::decode(message).map_err(undecodable)?;
                match answer.message {
                    Some(Message::SnapshotEnd(_)) => (true, 0),
                    Some(Message::Delta(delta)) => (false, delta.events.len()),
                    _ => (false, 0),
                }
            }
        };
        self.standing.set(self.standing.get() + u64::from(stands));
        self.delivered.set(self.delivered.get() + events as u64);
        Ok(())
    }
}
