//! What a watch tells the server to be in effect.

use std::time::Duration;

use futures_util::{FutureExt, future::BoxFuture};
use tonic::Status;

use super::Selection;
use crate::endpoints::Endpoint;

/// How long an acknowledgement that was not taken is held back.
const ACK_PAUSE: Duration = Duration::from_millis(200);

/// What is to be acknowledged. Nothing of it outlives its stream: the token acknowledges it.
#[derive(Default)]
pub(super) struct Acks {
    /// A part of the update that is under way asks for it.
    asked: bool,
    /// The update that was handed out last asks for it. It is in effect when the next one is asked
    /// for.
    handed_out: Option<i64>,
    /// What is in effect and not acknowledged.
    due: Option<i64>,
    sending: Option<(i64, BoxFuture<'static, Result<(), Status>>)>,
}

// === impl Acks ===

impl Acks {
    /// A part of the update that is under way came. Says whether it asks.
    pub(super) fn part(&mut self, asks: bool) {
        self.asked |= asks;
    }

    /// The update that was under way is handed out.
    pub(super) fn hand_out(&mut self, revision: i64) {
        if std::mem::take(&mut self.asked) {
            self.handed_out = Some(revision);
        }
    }

    /// The next update is asked for, so that what was handed out is in effect.
    pub(super) fn in_effect(&mut self) {
        self.due = self.handed_out.take().or(self.due);
    }

    /// Begins to acknowledge what is due.
    pub(super) fn send<S: Selection>(&mut self, selection: &S, endpoint: &Endpoint) {
        if self.sending.is_none()
            && let Some(revision) = self.due.take()
        {
            let sending = selection.acknowledge(endpoint.channel.clone(), revision);
            self.sending = sending.map(|sending| (revision, sending));
        }
    }

    /// Completes when what is being sent was answered. Cancel-safe.
    pub(super) async fn sent(&mut self) -> Result<(), Status> {
        match &mut self.sending {
            Some((_, sending)) => sending.await,
            None => std::future::pending().await,
        }
    }

    /// Takes in an answer. What was not taken is sent again for as long as the stream lives.
    pub(super) fn taken<S: Selection>(
        &mut self,
        answer: Result<(), Status>,
        selection: &S,
        endpoint: &Endpoint,
    ) {
        let Some((revision, _)) = self.sending.take() else {
            return;
        };
        let Err(status) = answer else {
            return;
        };
        tracing::debug!(%status, "an acknowledgement was not taken");
        let revision = self.due.take().unwrap_or(revision);
        let again = selection.acknowledge(endpoint.channel.clone(), revision);
        self.sending = again.map(|again| {
            let later = async move {
                tokio::time::sleep(ACK_PAUSE).await;
                again.await
            };
            (revision, later.boxed())
        });
    }
}
