//! One call, tried until it is answered: the only place that repeats unary calls.

use std::time::Duration;

use tokio::time::Instant;
use tonic::{Request, Response, Status, transport::Channel};

use crate::{
    backoff::Backoff,
    endpoints::Endpoints,
    error::{Error, Next, Result},
    options::Options,
    proto::{
        audit_service_client::AuditServiceClient, barrier_service_client::BarrierServiceClient,
        config_service_client::ConfigServiceClient, election_service_client::ElectionServiceClient,
        lock_service_client::LockServiceClient, operator_service_client::OperatorServiceClient,
        registry_service_client::RegistryServiceClient, server_service_client::ServerServiceClient,
        session_service_client::SessionServiceClient,
    },
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
    /// Until when the server may wait before it answers; none: for as long as it takes.
    pub(crate) waits_until: Option<Instant>,
    /// How many tries.
    pub(crate) attempts: u32,
}

/// The generated client of a service.
pub(crate) trait Stub {
    /// One that calls over `channel`.
    fn over(channel: Channel) -> Self;
}

macro_rules! stubs {
    ($($Client:ident),*) => {$(
        impl Stub for $Client<Channel> {
            fn over(channel: Channel) -> Self {
                Self::new(channel)
            }
        }
    )*};
}

stubs!(
    AuditServiceClient,
    BarrierServiceClient,
    ConfigServiceClient,
    ElectionServiceClient,
    LockServiceClient,
    OperatorServiceClient,
    RegistryServiceClient,
    ServerServiceClient,
    SessionServiceClient
);

// === impl Caller ===

impl Caller {
    /// Makes a call that the server can be asked repeatedly: a read, or a mutation with a
    /// `request_id` or of a kind that changes nothing the second time. `method` is one of a
    /// generated client.
    pub(crate) async fn call<S, Req, Res>(
        &self,
        request: Req,
        method: impl AsyncFn(&mut S, Request<Req>) -> Result<Response<Res>, Status>,
    ) -> Result<Res>
    where
        S: Stub,
        Req: Clone,
    {
        let now = Instant::now();
        let patience = Patience {
            deadline: Some(now + self.options.call_timeout),
            waits_until: Some(now),
            attempts: self.attempts(),
        };
        self.call_with(patience, || request.clone(), method).await
    }

    /// How long a call goes on that may wait at the server for `timeout`, or for ever, from now; and
    /// until when the server is to wait.
    pub(crate) fn patience(&self, timeout: Option<Duration>) -> (Patience, Option<Instant>) {
        // Longer than the clock can count is for ever.
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let patience = Patience {
            // The server ends the wait; the rest is for the way there and back.
            deadline: until.and_then(|until| until.checked_add(self.options.call_timeout)),
            waits_until: until,
            attempts: match timeout {
                Some(timeout) if timeout.is_zero() => self.options.attempts,
                _ => u32::MAX,
            },
        };
        (patience, until)
    }

    /// How often a call is tried: at each endpoint at least once.
    pub(crate) fn attempts(&self) -> u32 {
        self.options.attempts.max(self.endpoints.len() as u32)
    }

    /// Makes a call with a patience of its own. The request is made anew for each try, because
    /// what it asks to wait for gets shorter.
    pub(crate) async fn call_with<S: Stub, Req, Res>(
        &self,
        patience: Patience,
        request: impl Fn() -> Req,
        method: impl AsyncFn(&mut S, Request<Req>) -> Result<Response<Res>, Status>,
    ) -> Result<Res> {
        let started = Instant::now();
        let mut backoff = Backoff::new(MAX_WAIT);
        let mut reconnected = false;
        let mut tries = 0;
        loop {
            let endpoint = self.endpoints.current();
            let mut request = Request::new(request());
            if let Some(deadline) = patience.deadline {
                request.set_timeout(deadline.saturating_duration_since(Instant::now()));
            }
            let mut stub = S::over(endpoint.channel.clone());
            let sent = method(&mut stub, request);
            let answer = match self.unanswered_at(&patience) {
                Some(until) => tokio::time::timeout_at(until, sent)
                    .await
                    .map_err(|_| Error::deadline(started.elapsed())),
                None => Ok(sent.await),
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

    /// When a try that begins now counts as unanswered. Another endpoint has its turn before the
    /// deadline; at the only one there is nothing to do but to wait.
    fn unanswered_at(&self, patience: &Patience) -> Option<Instant> {
        let late =
            |waits_until: Instant| waits_until.max(Instant::now()) + self.options.try_timeout;
        let late = patience
            .waits_until
            .map(late)
            .filter(|_| self.endpoints.len() > 1);
        match (late, patience.deadline) {
            (Some(late), Some(deadline)) => Some(late.min(deadline)),
            (late, deadline) => late.or(deadline),
        }
    }
}

/// A name for a request that makes it safe to repeat: 128 random bits.
pub(crate) fn request_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}
