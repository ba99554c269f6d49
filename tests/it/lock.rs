//! Locks: queues, tokens, guards, and calls that break off.

mod bad_input;
mod broken_calls;
mod contention;
mod delays;
mod doubts;
mod faults;
mod guards;
mod hold;
mod loss;
mod modes;
mod oversight;
mod reads;
mod reentrant;
mod release;
mod sessions;
mod together;
mod unshown;
mod waiting;
mod watching;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use stanchion::store::{Error, Store, Txn, TxnResponse};
use stanchion_client::proto::{
    AcquireLockRequest, AcquireLockResponse, CloseSessionRequest, Consistency, GetLockRequest,
    Lock, OpenSessionRequest, ReleaseLockRequest, acquire_lock_request::Wait,
    release_lock_request::Claim,
};
use tokio::task::JoinHandle;
use tonic::Status;

use crate::support::{
    overlay::{Overlaid, Overlay},
    server::{Server, eventually},
};

/// A store that remembers the transactions about some keys that go through it.
pub struct Counting {
    inner: Arc<dyn Store>,
    about: &'static str,
    seen: Mutex<Vec<Txn>>,
}

// === impl Counting ===

impl Counting {
    fn new(inner: Arc<dyn Store>) -> Arc<Overlaid<Self>> {
        Self::about(inner, "/state/lock/")
    }

    /// Remembers those about keys that have this in them.
    pub fn about(inner: Arc<dyn Store>, about: &'static str) -> Arc<Overlaid<Self>> {
        Arc::new(Overlaid(Self {
            inner,
            about,
            seen: Mutex::default(),
        }))
    }

    /// The transactions since the last time.
    pub fn take(&self) -> Vec<Txn> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

#[async_trait]
impl Overlay for Counting {
    fn inner(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, Error> {
        if format!("{txn:?}").contains(self.about) {
            self.seen.lock().unwrap().push(txn.clone());
        }
        self.inner.txn(txn).await
    }
}

/// Opens a session that outlives the test.
pub async fn open(server: &Server) -> String {
    open_for(server, 60, "").await
}

pub async fn open_for(server: &Server, seconds: i64, client_id: &str) -> String {
    let request = OpenSessionRequest {
        ttl: Some(prost_types::Duration { seconds, nanos: 0 }),
        client_id: client_id.into(),
        ..Default::default()
    };
    let opened = server.sessions().open_session(request).await.unwrap();
    opened.into_inner().session_id
}

pub async fn close(server: &Server, session: &str) {
    let request = CloseSessionRequest {
        session_id: session.into(),
        ..Default::default()
    };
    server.sessions().close_session(request).await.unwrap();
}

/// Waits for ever.
fn wanted(lock: &str, session: &str, request: &str) -> AcquireLockRequest {
    AcquireLockRequest {
        lock: lock.into(),
        session_id: session.into(),
        request_id: request.into(),
        ..Default::default()
    }
}

/// Does not wait.
fn tried(lock: &str, session: &str, request: &str) -> AcquireLockRequest {
    AcquireLockRequest {
        wait: Some(Wait::NoWait(true)),
        ..wanted(lock, session, request)
    }
}

/// Waits so long.
fn timed(lock: &str, session: &str, request: &str, time: Duration) -> AcquireLockRequest {
    AcquireLockRequest {
        wait: Some(Wait::WaitTimeout(time.try_into().unwrap())),
        ..wanted(lock, session, request)
    }
}

async fn acquire(
    server: &Server,
    request: AcquireLockRequest,
) -> Result<AcquireLockResponse, Status> {
    let answer = server.locks().acquire_lock(request).await;
    answer.map(tonic::Response::into_inner)
}

/// A call that runs by itself; aborting it cuts it off.
fn spawn(
    server: &Server,
    request: AcquireLockRequest,
) -> JoinHandle<Result<AcquireLockResponse, Status>> {
    let mut locks = server.locks();
    tokio::spawn(async move {
        let answer = locks.acquire_lock(request).await;
        answer.map(tonic::Response::into_inner)
    })
}

/// The token of a lock that is free.
pub async fn take(server: &Server, lock: &str, session: &str, request: &str) -> i64 {
    let granted = acquire(server, tried(lock, session, request)).await;
    granted.unwrap().fencing_token
}

async fn release(
    server: &Server,
    lock: &str,
    session: &str,
    claim: Option<Claim>,
) -> Result<bool, Status> {
    let request = ReleaseLockRequest {
        lock: lock.into(),
        session_id: session.into(),
        claim,
        ..Default::default()
    };
    let answer = server.locks().release_lock(request).await;
    answer.map(|answer| answer.into_inner().released)
}

pub async fn release_token(server: &Server, lock: &str, session: &str, token: i64) -> bool {
    let claim = Some(Claim::FencingToken(token));
    release(server, lock, session, claim).await.unwrap()
}

async fn release_request(server: &Server, lock: &str, session: &str, request: &str) -> bool {
    let claim = Some(Claim::RequestId(request.into()));
    release(server, lock, session, claim).await.unwrap()
}

/// The lock as the store has it.
async fn lock(server: &Server, lock: &str) -> Lock {
    let request = GetLockRequest {
        lock: lock.into(),
        consistency: Consistency::Linearizable.into(),
        ..Default::default()
    };
    let answer = server.locks().get_lock(request).await.unwrap();
    answer.into_inner().lock.unwrap()
}

/// Waits until so many stand behind the holder.
async fn until_waiting(server: &Server, name: &str, waiters: usize) -> Lock {
    eventually("the queue to have its length", || async {
        let lock = lock(server, name).await;
        (lock.waiters.len() == waiters).then_some(lock)
    })
    .await
}

/// Waits until nobody claims the lock.
async fn until_free(server: &Server, name: &str) {
    eventually("the lock to be free", || async {
        let lock = lock(server, name).await;
        (lock.holder.is_none() && lock.waiters.is_empty()).then_some(())
    })
    .await;
}
