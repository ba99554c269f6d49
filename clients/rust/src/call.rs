//! One call, tried until it is answered: the only place that repeats unary calls.

use std::time::Duration;

use tokio::time::Instant;
use tonic::{Request, Response, Status, transport::Channel};

use crate::{
    backoff::Backoff,
    endpoints::Endpoints,
    error::{Error, Next, Result},
    options::Options,
};

/// The longest wait between two tries of one call.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// What all parts of a client share: the endpoints and how to call them.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) endpoints: Endpoints,
    pub(crate) options: Options,
}

/// How long a call goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// When to give up, answer or not.
    pub(crate) deadline: Option<Instant>,
    /// How many tries.
    pub(crate) attempts: u32,
}

// === impl Caller ===

impl Caller {
    /// Makes a call that the server can be asked repeatedly: a read, or a mutation with a
    /// `request_id` or of a kind that changes nothing the second time.
    pub(crate) async fn call<Req, Res, Fut>(
        &self,
        request: Req,
        send: impl Fn(Channel, Request<Req>) -> Fut,
    ) -> Result<Res>
    where
        Req: Clone,
        Fut: Future<Output = Result<Response<Res>, Status>>,
    {
        let patience = Patience {
            deadline: Some(Instant::now() + self.options.call_timeout),
            attempts: self.options.attempts.max(self.endpoints.len() as u32),
        };
        self.call_with(patience, || request.clone(), send).await
    }

    /// Makes a call with a patience of its own. The request is made anew for each try, because
    /// what it asks to wait for gets shorter.
    pub(crate) async fn call_with<Req, Res, Fut>(
        &self,
        patience: Patience,
        request: impl Fn() -> Req,
        send: impl Fn(Channel, Request<Req>) -> Fut,
    ) -> Result<Res>
    where
        Fut: Future<Output = Result<Response<Res>, Status>>,
    {
        let started = Instant::now();
        let mut backoff = Backoff::new(MAX_WAIT);
        let mut reconnected = false;
        let mut tries = 0;
        loop {
            let endpoint = self.endpoints.current();
            let mut request = Request::new(request());
            let answer = match patience.deadline {
                Some(deadline) => {
                    request.set_timeout(deadline.saturating_duration_since(Instant::now()));
                    let sent = send(endpoint.channel.clone(), request);
                    tokio::time::timeout_at(deadline, sent)
                        .await
                        .map_err(|_| Error::deadline(started.elapsed()))
                }
                None => Ok(send(endpoint.channel.clone(), request).await),
            };
            let error = match answer {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => Error::from(status).at(&endpoint.address),
                Err(late) => late.at(&endpoint.address),
            };
            match error.next() {
                Next::GiveUp => return Err(error),
                Next::SameEndpointAtOnce if !reconnected => {
                    reconnected = true;
                    continue;
                }
                Next::OtherEndpoint | Next::SameEndpointAtOnce => self.endpoints.leave(&endpoint),
                Next::Repeat => {}
            }
            tries += 1;
            // The first round through the endpoints does not wait, unless the server asks for it.
            let wait = if (tries as usize) < self.endpoints.len() {
                Duration::ZERO
            } else {
                backoff.wait().max(error.retry_after().unwrap_or_default())
            };
            let too_late = patience
                .deadline
                .is_some_and(|deadline| Instant::now() + wait >= deadline);
            if tries >= patience.attempts || too_late {
                return Err(error);
            }
            tracing::debug!(%error, ?wait, "tries again");
            tokio::time::sleep(wait).await;
        }
    }
}

/// A name for a request that makes it safe to repeat: 128 random bits.
pub(crate) fn request_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}
