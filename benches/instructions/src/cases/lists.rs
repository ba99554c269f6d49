//! Lists, from the request to the last byte of the answer.

use crate::{
    error::CountError,
    instances::{INSTANCE_BYTES, LARGE, LARGE_SERVICE, SMALL_SERVICE},
    replica::Replica,
};

use super::{Round, list_request, rounds};

const PATH: &str = "/stanchion.v1.RegistryService/ListInstances";

/// Lists after each change.
pub(super) fn first(replica: &mut Replica<'_>) -> Result<u64, CountError> {
    let mut operations = 0;
    for round in rounds(300) {
        replica.happen()?;
        operations += list(replica, round, LARGE_SERVICE, LARGE)?;
    }
    Ok(operations)
}

/// Lists while nothing changes.
pub(super) fn cached(replica: &mut Replica<'_>) -> Result<u64, CountError> {
    again(replica, LARGE_SERVICE, LARGE)
}

/// Lists one instance while nothing changes.
pub(super) fn one(replica: &mut Replica<'_>) -> Result<u64, CountError> {
    again(replica, SMALL_SERVICE, 1)
}

fn again(replica: &mut Replica<'_>, service: &str, instances: usize) -> Result<u64, CountError> {
    let mut operations = 0;
    for round in rounds(1000) {
        operations += list(replica, round, service, instances)?;
    }
    Ok(operations)
}

fn list(
    replica: &mut Replica<'_>,
    round: Round,
    service: &str,
    instances: usize,
) -> Result<u64, CountError> {
    let request = replica.request(PATH, &list_request(service));
    let read = round.count(|| replica.call(request).map(|mut answer| answer.read()));
    match read.flatten() {
        Some(read) if read.ended => read.check(1, instances * INSTANCE_BYTES)?,
        _ => return Err(CountError::unexpected("a list waits for something")),
    }
    Ok(round.operations(1))
}
