//! Locks that are held for as long as a stream lives.

mod endings;
mod losses;
mod places;
mod refusals;
mod silence;
mod taking_over;

use std::time::Instant;

use stanchion::settings::Settings;
use stanchion_client::proto::{
    HoldAcquired, HoldContended, HoldLockRequest, HoldLockResponse, HoldLost, HoldQueued,
    hold_lock_request, hold_lock_response::Message, lock_service_client::LockServiceClient,
};
use tokio::time::timeout;
use tonic::{Streaming, transport::Channel};

use super::*;
use crate::support::{
    server::{Backend, assert_status, on_both_stores},
    store::PATIENCE,
};

/// Longer than any test waits for what must happen at once.
const LONG_KEEP: Duration = Duration::from_secs(20);
/// How long the claim of a broken stream is kept where that is waited for.
const KEEP: Duration = Duration::from_secs(1);

/// A stream that holds a lock, or waits for it.
pub(super) struct Holding(Streaming<HoldLockResponse>);

// === impl Holding ===

impl Holding {
    async fn open(server: &Server, request: HoldLockRequest) -> Self {
        Self::over(server.channel(), request).await.unwrap()
    }

    async fn over(channel: Channel, request: HoldLockRequest) -> Result<Self, Status> {
        let answer = LockServiceClient::new(channel).hold_lock(request).await;
        answer.map(|answer| Self(answer.into_inner()))
    }

    /// The next message, or how it ended.
    async fn read(&mut self) -> Result<Option<Message>, Status> {
        let read = timeout(PATIENCE, self.0.message()).await;
        let read = read.expect("nothing more is told")?;
        Ok(read.map(|response| {
            assert!(response.header.is_some());
            response.message.unwrap()
        }))
    }

    async fn next(&mut self) -> Message {
        self.read().await.unwrap().unwrap()
    }

    async fn queued(&mut self) -> HoldQueued {
        match self.next().await {
            Message::Queued(queued) => queued,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until it is told that it stands there.
    async fn queued_at(&mut self, position: i32, waiters: i32) -> HoldQueued {
        loop {
            let queued = self.queued().await;
            if (queued.position, queued.waiter_count) == (position, waiters) {
                return queued;
            }
        }
    }

    /// Waits until it holds the lock.
    pub(super) async fn acquired(&mut self) -> HoldAcquired {
        loop {
            match self.next().await {
                Message::Queued(_) => {}
                Message::Acquired(acquired) => return acquired,
                other => panic!("{other:?}"),
            }
        }
    }

    /// Waits until it is told that so many wait.
    async fn contended(&mut self, waiters: i32) -> HoldContended {
        loop {
            match self.next().await {
                Message::Contended(told) if told.waiter_count == waiters => return told,
                Message::Contended(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Waits until it has lost the lock, which is the last word.
    pub(super) async fn lost(&mut self) -> HoldLost {
        loop {
            match self.next().await {
                Message::Contended(_) => {}
                Message::Lost(lost) => {
                    assert_eq!(self.read().await.unwrap(), None);
                    return lost;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Waits until it fails.
    async fn failed(&mut self) -> Status {
        loop {
            match self.read().await {
                Ok(Some(Message::Lost(lost))) => panic!("{lost:?}"),
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ended well"),
                Err(status) => return status,
            }
        }
    }
}

/// Settings under which the claims of broken streams are kept for longer than anything takes, and
/// others are told of at once.
fn patient(backend: &Backend) -> Settings {
    let mut settings = backend.settings();
    settings.domain.waiter_keep = LONG_KEEP;
    settings.domain.hold_interval = Duration::from_millis(10);
    settings
}

async fn patient_server(backend: &Backend) -> Server {
    backend.server_with(patient(backend)).await
}

/// Waits for ever.
fn held(lock: &str, session: &str, request: &str) -> HoldLockRequest {
    HoldLockRequest {
        lock: lock.into(),
        session_id: session.into(),
        request_id: request.into(),
        ..Default::default()
    }
}

pub(super) async fn hold(server: &Server, lock: &str, session: &str, request: &str) -> Holding {
    Holding::open(server, held(lock, session, request)).await
}
