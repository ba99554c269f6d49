//! `AcquireLocks`: several locks, all or none.

use std::collections::BTreeSet;

use bytes::Bytes;
use stanchion_client::proto::{
    self, AcquireLocksRequest, AcquireLocksResponse, AcquiredLock, acquire_locks_request,
};
use tonic::{Response, Status};

use crate::{
    domain::{
        Error,
        keyspace::{QueueKind, QueuePath},
        lock::{Acquire, AcquireAll, Granted, LockMode, MAX_TOGETHER},
        names::QueueName,
    },
    rpc::{
        convert::{Violations, wait},
        status,
    },
};

use super::{LockHandler, MAX_METADATA, MAX_METADATA_BYTES, delay, yield_request};

pub(super) async fn acquire(
    handler: &LockHandler,
    request: AcquireLocksRequest,
    address: String,
) -> Result<Response<AcquireLocksResponse>, Status> {
    let request = decode(request, address)?;
    let granted = handler.locks.acquire_all(request).await;
    let granted = granted.map_err(status::of)?;
    Ok(Response::new(AcquireLocksResponse {
        header: Some(handler.context.header.at(granted.revision)),
        locks: granted.granted.iter().map(acquired).collect(),
    }))
}

fn decode(request: AcquireLocksRequest, address: String) -> Result<AcquireAll, Status> {
    let mut v = Violations::new();
    let count = request.locks.len();
    if count == 0 || count > MAX_TOGETHER {
        v.add("locks", format!("must be 1 to {MAX_TOGETHER}, is {count}"));
    }
    let namespace = v.namespace(&request.namespace);
    let mut names = BTreeSet::new();
    let mut locks = Vec::new();
    for (at, wanted) in request.locks.iter().take(MAX_TOGETHER).enumerate() {
        let field = format!("locks[{at}].lock");
        let name = v.take(&field, QueueName::parse(&wanted.lock));
        if name.is_some() && !names.insert(&wanted.lock) {
            v.add(field, "must not be named twice");
        }
        locks.extend(name.map(|name| (name, mode(&mut v, at, wanted.mode))));
    }
    let session = v.session_id(&request.session_id);
    let request_id = v.request_id(&request.request_id);
    if request.request_id.is_empty() {
        v.add("request_id", "is required");
    }
    let wait = wait!(v, request.wait, acquire_locks_request);
    let modes = locks.iter().map(|(_, mode)| *mode);
    let shared = modes.into_iter().find(|mode| *mode != LockMode::Exclusive);
    let delay = delay::parse(
        &mut v,
        request.lock_delay,
        shared.unwrap_or_default(),
        false,
    );
    let owner = v.label("owner", &request.owner);
    let metadata = v.metadata(
        "metadata",
        request.metadata,
        MAX_METADATA,
        MAX_METADATA_BYTES,
    );
    let guard = v.guard(request.guard, &request.namespace);
    let namespace = v.give(namespace)?;
    // One that cannot be is as good as one that is gone.
    let session = session.ok_or_else(|| status::of(Error::LeaseExpired))?;
    let claims = locks.into_iter().map(|(name, mode)| Acquire {
        lock: QueuePath {
            kind: QueueKind::Lock,
            namespace: namespace.clone(),
            name,
        },
        session,
        request_id: request_id.clone(),
        wait,
        reentrant: None,
        mode,
        delay,
        owner: owner.clone(),
        metadata: metadata.clone(),
        proclamation: Bytes::new(),
        address: address.clone(),
        guard: guard.clone(),
        let_go: None,
    });
    Ok(AcquireAll {
        claims: claims.collect(),
        wait,
    })
}

fn mode(v: &mut Violations, at: usize, mode: i32) -> LockMode {
    match proto::LockMode::try_from(mode) {
        Ok(proto::LockMode::Exclusive | proto::LockMode::Unspecified) => LockMode::Exclusive,
        Ok(proto::LockMode::Shared) => LockMode::Shared,
        Ok(proto::LockMode::Permits) | Err(_) => {
            v.add(format!("locks[{at}].mode"), "must be EXCLUSIVE or SHARED");
            LockMode::default()
        }
    }
}

fn acquired(granted: &Granted) -> AcquiredLock {
    let waiter = &granted.claim.waiter;
    AcquiredLock {
        lock: granted.claim.lock.name.to_string(),
        fencing_token: waiter.fencing_token(),
        yield_request: waiter.yield_request.as_ref().map(yield_request),
    }
}
