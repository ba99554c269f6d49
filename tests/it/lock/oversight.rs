//! Looking into queues, and stepping in.

mod deadlocks;
mod force;
mod looks;
mod yielding;

use stanchion_client::proto::{
    ForceReleaseLockRequest, ForceReleaseLockResponse, KeepAliveRequest, KeepAliveResponse,
    keep_alive_response::Message,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::*;

/// A stream of heartbeats of one session.
pub(super) struct Beats {
    send: mpsc::Sender<KeepAliveRequest>,
    answers: Streaming<KeepAliveResponse>,
}

// === impl Beats ===

impl Beats {
    /// Opens a stream that is told of what happens to the session from then on.
    pub(super) async fn open(server: &Server, session: &str) -> Self {
        let (send, requests) = mpsc::channel(4);
        let request = KeepAliveRequest {
            session_id: session.into(),
            seq: 1,
            acks: Vec::new(),
        };
        send.send(request).await.unwrap();
        let requests = ReceiverStream::new(requests);
        let answers = server.sessions().keep_alive(requests).await.unwrap();
        let answers = answers.into_inner();
        Self { send, answers }
    }

    /// Waits until a heartbeat is answered.
    pub(super) async fn alive(&mut self) {
        let alive = self.answers.message().await.unwrap().unwrap().message;
        assert!(matches!(alive, Some(Message::Alive(_))));
    }

    /// The next thing told that is no answer to a heartbeat.
    pub(super) async fn told(&mut self) -> Message {
        assert!(!self.send.is_closed());
        let told = async {
            loop {
                let message = self.answers.message().await.unwrap().unwrap().message;
                match message.unwrap() {
                    Message::Alive(_) => {}
                    message => return message,
                }
            }
        };
        let told = tokio::time::timeout(crate::support::store::PATIENCE, told);
        told.await.expect("nothing is told")
    }
}

pub(super) async fn force(server: &Server, lock: &str, token: i64) -> ForceReleaseLockResponse {
    let request = forced(lock, token);
    let answer = server.locks().force_release_lock(request).await;
    answer.unwrap().into_inner()
}

pub(super) fn forced(lock: &str, fencing_token: i64) -> ForceReleaseLockRequest {
    ForceReleaseLockRequest {
        lock: lock.into(),
        fencing_token,
        actor: "ops".into(),
        comment: "stuck".into(),
        ..Default::default()
    }
}
