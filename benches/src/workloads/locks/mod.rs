//! Locks, beside the recipe of etcd's own Go client.
//!
//! The recipe is a library, so its times include that client's, on the core of this program; ours are
//! those of bare calls. What etcd has to write for each is the same whoever asks.

pub(crate) mod hand_off;
mod recipe;
pub(crate) mod uncontended;

use prost::Message as _;
use stanchion_client::proto::{
    AcquireLockRequest, AcquireLockResponse, OpenSessionRequest, OpenSessionResponse,
    ReleaseLockRequest, release_lock_request::Claim,
};

use super::{
    busy::call,
    instances::{unary, undecodable},
};
use crate::{
    BenchError,
    counters::WRITES,
    http2::{Call, Connection},
    meter::Usage,
    sample::{Metric, Sample},
};

const ACQUIRE: &str = "/stanchion.v1.LockService/AcquireLock";
const RELEASE: &str = "/stanchion.v1.LockService/ReleaseLock";
const OPEN_SESSION: &str = "/stanchion.v1.SessionService/OpenSession";

/// Longer than any run: heartbeats are not what is measured.
const TTL_SECONDS: i64 = 600;

/// Requests in etcd's log for each operation.
const WRITES_EACH: Metric = Metric::small("etcd_writes_each", "writes each");

/// Opens a session, and tells its id.
pub(crate) async fn open_session(connection: &mut Connection) -> Result<String, BenchError> {
    let open = OpenSessionRequest {
        ttl: Some(prost_types::Duration {
            seconds: TTL_SECONDS,
            nanos: 0,
        }),
        ..OpenSessionRequest::default()
    };
    let opened = call(connection, &unary(OPEN_SESSION, &open)).await?;
    let opened = OpenSessionResponse::decode(opened).map_err(undecodable)?;
    Ok(opened.session_id)
}

/// The call that takes a lock, and waits for it.
pub(crate) fn acquire(lock: &str, session: &str) -> Call {
    let acquire = AcquireLockRequest {
        lock: lock.to_owned(),
        session_id: session.to_owned(),
        ..AcquireLockRequest::default()
    };
    unary(ACQUIRE, &acquire)
}

/// The call that releases a lock, by the answer to the one that took it.
pub(crate) fn release(lock: &str, session: &str, acquired: &[u8]) -> Result<Call, BenchError> {
    let acquired = AcquireLockResponse::decode(acquired).map_err(undecodable)?;
    let release = ReleaseLockRequest {
        lock: lock.to_owned(),
        session_id: session.to_owned(),
        claim: Some(Claim::FencingToken(acquired.fencing_token)),
        ..ReleaseLockRequest::default()
    };
    Ok(unary(RELEASE, &release))
}

/// What there is to say of so much use.
fn sample(usage: Usage) -> Sample {
    let mut sample = Sample::of(usage);
    let writes = usage.counters.get(WRITES);
    sample.set(WRITES_EACH, writes / usage.operations as f64);
    sample
}
