//! A watch that resumes by itself, on any endpoint: one implementation for everything that can be
//! watched.

mod acks;
mod requests;
mod selection;
mod update;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tonic::{Code, Status, Streaming};

use self::{acks::Acks, update::Parts};
pub use self::{
    selection::{Body, Message, Selection},
    update::{Change, Update, UpdateKind},
};
use crate::{
    backoff::Backoff,
    call::Caller,
    endpoints::Endpoint,
    error::{Error, Result},
    proto::{ErrorReason, Final, WatchStart, watch_start},
};

/// A watch that never ends by itself.
pub struct Watch<S: Selection> {
    caller: Arc<Caller>,
    selection: S,
    state: State<S>,
    backoff: Backoff,
    /// Where to resume. Empty means with a snapshot.
    token: Bytes,
    parts: Parts<S::Item>,
    acks: Acks,
}

/// Held in the watch, so that a dropped `next` loses nothing.
enum State<S: Selection> {
    Waiting {
        until: Instant,
    },
    Opening {
        endpoint: Endpoint,
        until: Instant,
        opening: BoxFuture<'static, Result<Streaming<S::Response>, Status>>,
    },
    Open {
        endpoint: Endpoint,
        last: Instant,
        stream: Box<Streaming<S::Response>>,
    },
}

// === impl Watch ===

impl<S: Selection> Watch<S> {
    /// A watch that begins with a snapshot, or after `token` if it is not empty.
    pub(crate) fn new(caller: Arc<Caller>, mut selection: S, token: Bytes) -> Self {
        selection.introduce(&caller.options.session.client_id);
        let backoff = Backoff::of_many(caller.options.max_backoff);
        Self {
            caller,
            selection,
            state: State::Waiting {
                until: Instant::now(),
            },
            backoff,
            token,
            parts: Parts::new(),
            acks: Acks::default(),
        }
    }

    /// The next update. Waits for ever while no endpoint answers; may be dropped and called again.
    /// To ask for it says that the one before is in effect, which a watch that acknowledges tells
    /// the server.
    ///
    /// Fails only for what another try does not change: a malformed selection, a token of another
    /// one, a server without the method. Calling again then tries again, after a pause.
    pub async fn next(&mut self) -> Result<Update<S::Item>> {
        self.acks.in_effect();
        loop {
            match &mut self.state {
                State::Waiting { until } => {
                    tokio::time::sleep_until(*until).await;
                    self.open();
                }
                State::Opening {
                    endpoint,
                    until,
                    opening,
                } => match tokio::time::timeout_at(*until, opening).await {
                    Ok(Ok(stream)) => {
                        self.state = State::Open {
                            endpoint: endpoint.clone(),
                            last: Instant::now(),
                            stream: Box::new(stream),
                        };
                    }
                    Ok(Err(status)) => self.broken(status.into())?,
                    Err(_) => {
                        let patience = self.opening_time();
                        self.broken(Error::deadline(patience))?;
                    }
                },
                State::Open {
                    endpoint,
                    last,
                    stream,
                } => {
                    let silence = self.caller.options.stream_silence;
                    self.acks.send(&self.selection, endpoint);
                    let message = tokio::select! {
                        message = tokio::time::timeout_at(*last + silence, stream.message()) => {
                            message
                        }
                        taken = self.acks.sent() => {
                            self.acks.taken(taken, &self.selection, endpoint);
                            continue;
                        }
                    };
                    match message {
                        Ok(Ok(Some(response))) => {
                            *last = Instant::now();
                            self.backoff.reset();
                            let message = S::read(response);
                            if let Some(Body::Bookmark { r#final, .. }) = message.body
                                && r#final == Final::Draining
                            {
                                self.caller.endpoints.leave(endpoint);
                            }
                            if let Some(update) = self.take(message) {
                                return Ok(update);
                            }
                        }
                        // Ended with status OK, after a final bookmark.
                        Ok(Ok(None)) => self.wait(),
                        Ok(Err(status)) => self.broken(status.into())?,
                        Err(_) => self.broken(Error::silent(silence))?,
                    }
                }
            }
        }
    }

    fn open(&mut self) {
        self.parts.clear();
        self.acks = Acks::default();
        let start = (!self.token.is_empty()).then(|| WatchStart {
            position: Some(watch_start::Position::ResumeToken(self.token.clone())),
            epoch: String::new(),
        });
        let endpoint = self.caller.endpoints.current();
        self.state = State::Opening {
            opening: self.selection.clone().open(endpoint.channel.clone(), start),
            until: Instant::now() + self.opening_time(),
            endpoint,
        };
    }

    /// Opening may wait until a replica has reached the token's revision.
    fn opening_time(&self) -> Duration {
        let options = &self.caller.options;
        options.connect_timeout + options.call_timeout + Duration::from_secs(1)
    }

    fn wait(&mut self) {
        self.state = State::Waiting {
            until: Instant::now() + self.backoff.wait(),
        };
    }

    /// Gets ready to go on after an error, which is returned if going on cannot help.
    fn broken(&mut self, error: Error) -> Result<()> {
        let endpoint = match &self.state {
            State::Opening { endpoint, .. } | State::Open { endpoint, .. } => Some(endpoint),
            State::Waiting { .. } => None,
        };
        let error = match endpoint {
            Some(endpoint) => error.at(&endpoint.address),
            None => error,
        };
        let begins_anew = matches!(
            error.reason(),
            ErrorReason::InvalidResumeToken | ErrorReason::CursorCompacted
        ) && !self.token.is_empty();
        if begins_anew {
            self.token.clear();
        } else if let Some(endpoint) = endpoint {
            self.caller.endpoints.leave(endpoint);
        }
        self.wait();
        let hopeless = matches!(
            error.code(),
            Code::InvalidArgument
                | Code::NotFound
                | Code::PermissionDenied
                | Code::Unauthenticated
                | Code::Unimplemented
        );
        if hopeless && !begins_anew {
            return Err(error);
        }
        tracing::debug!(%error, "watch interrupted");
        Ok(())
    }

    /// Takes in a message; an update is returned when it is whole.
    fn take(&mut self, message: Message<S::Item>) -> Option<Update<S::Item>> {
        self.acks.part(message.ack_requested);
        let (revision, kind) = self.parts.take(message.body?)?;
        self.acks.hand_out(revision);
        if !message.resume_token.is_empty() {
            self.token = message.resume_token.clone();
        }
        Some(Update {
            header: message.header,
            revision,
            protected: message.protected,
            resume_token: message.resume_token,
            kind,
        })
    }
}

impl<S: Selection> std::fmt::Debug for Watch<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}
