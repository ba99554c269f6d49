//! Instances without end, written in batches.

use std::ops::Range;

use futures_util::future::try_join_all;
use prost::Message as _;
use stanchion_client::proto::{
    BatchRegisterInstancesRequest, BatchRegisterInstancesResponse,
    batch_register_instances_request::Liveness, register_outcome::Outcome,
};

use super::{PER_SERVICE, service};
use crate::{
    BenchError,
    http2::{Connection, Windows},
    workloads::{
        busy::{Tally, Work, keep_busy},
        instances::{REGISTER_BATCH, instance, unary, undecodable},
    },
};

/// Instances of a batch: half a service, and no more than a batch may hold.
const BATCH: u64 = PER_SERVICE / 2;

const CONNECTIONS: u64 = 4;

/// Batches under way on each connection.
const IN_FLIGHT: usize = 4;

/// The batches of one connection, by their numbers.
struct Batches(Range<u64>);

/// Registers so many services in Stanchion, for good.
pub(super) async fn fill(port: u16, services: u64) -> Result<(), BenchError> {
    let batches = services * PER_SERVICE / BATCH;
    let tally = Tally::new();
    let all = (0..CONNECTIONS).map(|index| {
        let part = batches * index / CONNECTIONS..batches * (index + 1) / CONNECTIONS;
        let tally = &tally;
        async move {
            let mut connection = Connection::open(port, Windows::Large).await?;
            keep_busy(&mut connection, IN_FLIGHT, &mut Batches(part), tally).await
        }
    });
    try_join_all(all).await?;
    Ok(())
}

// === impl Batches ===

impl Work for Batches {
    fn begin(&mut self, connection: &mut Connection) -> Option<(u64, u32)> {
        let number = self.0.next()?;
        let instances = (number * BATCH..(number + 1) * BATCH)
            .map(|number| instance(&service(number / PER_SERVICE), number % PER_SERVICE))
            .collect();
        let request = BatchRegisterInstancesRequest {
            instances,
            liveness: Some(Liveness::Persistent(true)),
            ..BatchRegisterInstancesRequest::default()
        };
        Some((number, connection.start(&unary(REGISTER_BATCH, &request))))
    }

    fn see(&mut self, _: u64, answer: &[u8]) -> Result<(), BenchError> {
        let answer = BatchRegisterInstancesResponse::decode(answer).map_err(undecodable)?;
        let registered = |outcome| matches!(outcome, Some(Outcome::Instance(_)));
        let mut outcomes = answer.outcomes.into_iter();
        if outcomes.all(|outcome| registered(outcome.outcome)) {
            Ok(())
        } else {
            Err(BenchError::failed("an instance is refused"))
        }
    }
}
