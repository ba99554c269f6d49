//! A drain, followed to its end on whichever endpoint answers.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tonic::Streaming;

use crate::{
    backoff::Backoff,
    call::Caller,
    duration::to_wire,
    error::{Error, Result},
    proto::{
        DrainInstanceRequest, DrainInstanceResponse, DrainOutcome, ErrorReason,
        registry_service_client::RegistryServiceClient,
    },
};

/// How long a drain lasts at most unless it says so; the server's default.
const DEADLINE: Duration = Duration::from_secs(20);

/// A drain of one instance. Nothing is asked for before [`next`](Self::next); dropped, it goes on
/// without anybody who follows it, and the instance is removed at the deadline.
#[derive(Debug)]
pub struct Drain {
    caller: Arc<Caller>,
    request: DrainInstanceRequest,
    stream: Option<Streaming<DrainInstanceResponse>>,
    backoff: Backoff,
    deadline: Duration,
    /// When it is given up if no server answers.
    until: Option<Instant>,
    /// What was last heard.
    last: Option<DrainInstanceResponse>,
}

// === impl Drain ===

impl Drain {
    pub(crate) fn new(
        caller: Arc<Caller>,
        mut request: DrainInstanceRequest,
        deadline: Option<Duration>,
    ) -> Self {
        request.deadline = deadline.map(to_wire);
        Self {
            backoff: Backoff::new(caller.options.max_backoff),
            deadline: deadline.unwrap_or(DEADLINE),
            until: None,
            stream: None,
            last: None,
            caller,
            request,
        }
    }

    /// How far it is, whenever that changes; the last message has an outcome, and nothing follows
    /// it. Goes on at another endpoint when one fails: it then joins the same drain.
    pub async fn next(&mut self) -> Result<Option<DrainInstanceResponse>> {
        if self.is_over() {
            return Ok(None);
        }
        let patience = self
            .deadline
            .saturating_add(self.caller.options.call_timeout);
        let until = match self.until.or_else(|| Instant::now().checked_add(patience)) {
            Some(until) => *self.until.insert(until),
            None => {
                return Err(Error::invalid(
                    "deadline",
                    "is longer than the clock can count",
                ));
            }
        };
        loop {
            let endpoint = self.caller.endpoints.current();
            let heard = async {
                if self.stream.is_none() {
                    let mut client = RegistryServiceClient::new(endpoint.channel.clone());
                    let answer = client.drain_instance(self.request.clone()).await?;
                    self.stream = Some(answer.into_inner());
                }
                match &mut self.stream {
                    Some(stream) => stream.message().await,
                    None => Ok(None),
                }
            };
            let error = match tokio::time::timeout_at(until, heard).await {
                Ok(Ok(Some(progress))) => {
                    self.last = Some(progress.clone());
                    return Ok(Some(progress));
                }
                Ok(Ok(None)) => Error::contract("outcome"),
                Ok(Err(status)) => Error::from(status).at(&endpoint.address),
                Err(_) => return Err(Error::deadline(patience)),
            };
            self.stream = None;
            if error.reason() == ErrorReason::InstanceNotFound
                && let Some(last) = &mut self.last
            {
                // It ended while nobody could tell us how.
                last.set_outcome(DrainOutcome::Overtaken);
                return Ok(Some(last.clone()));
            }
            let wait = self.backoff.wait();
            if !error.is_retryable() || Instant::now() + wait >= until {
                return Err(error);
            }
            tracing::debug!(%error, "a drain is followed elsewhere");
            self.caller.endpoints.leave(&endpoint);
            tokio::time::sleep(wait).await;
        }
    }

    /// Follows it to its end; the last message.
    pub async fn end(mut self) -> Result<DrainInstanceResponse> {
        while self.next().await?.is_some() {}
        self.last.ok_or_else(|| Error::contract("outcome"))
    }

    fn is_over(&self) -> bool {
        let outcome = self.last.as_ref().map(DrainInstanceResponse::outcome);
        outcome.is_some_and(|outcome| outcome != DrainOutcome::Unspecified)
    }
}
