//! Changes of instances, in turns.

use stanchion_client::proto::{RegisterInstanceRequest, register_instance_request::Liveness};

use super::{INSTANCES, SERVICES};
use crate::{
    BenchError,
    http2::{Call, Connection},
    wire::Dialect,
    workloads::{
        busy::{Tally, Work, keep_busy},
        instances::{instance, put, unary},
    },
};

const REGISTER: &str = "/stanchion.v1.RegistryService/RegisterInstance";

/// Writes under way at a time: those that are together may share a revision, and revisions are what
/// the log counts.
const IN_FLIGHT: usize = 1;

/// So many writes as fast as possible.
struct Changes<'a> {
    dialect: Dialect,
    services: &'a [String],
    next: u64,
    end: u64,
}

/// Makes so many changes.
pub(super) async fn write_often(
    connection: &mut Connection,
    dialect: Dialect,
    services: &[String],
    count: u64,
) -> Result<(), BenchError> {
    let mut changes = Changes {
        dialect,
        services,
        next: 0,
        end: count,
    };
    keep_busy(connection, IN_FLIGHT, &mut changes, &Tally::new()).await
}

/// The call that changes an instance: no two in a row the same, or nothing would change.
pub(super) fn write(dialect: Dialect, services: &[String], turn: u64) -> Call {
    let service = &services[(turn % SERVICES) as usize];
    let number = turn / SERVICES % INSTANCES;
    match dialect {
        Dialect::Etcd => put(service, number, 0),
        Dialect::Stanchion => {
            let mut instance = instance(service, number);
            instance.version = format!("1.4.{turn}");
            let request = RegisterInstanceRequest {
                instance: Some(instance),
                liveness: Some(Liveness::Persistent(true)),
                ..RegisterInstanceRequest::default()
            };
            unary(REGISTER, &request)
        }
    }
}

// === impl Changes ===

impl Work for Changes<'_> {
    fn begin(&mut self, connection: &mut Connection) -> Option<(u64, u32)> {
        if self.next == self.end {
            return None;
        }
        self.next += 1;
        let call = write(self.dialect, self.services, self.next);
        Some((self.next, connection.start(&call)))
    }
}
