//! Barriers: a group that goes on together, again and again.

use std::time::Duration;

use crate::{
    Client,
    call::request_id,
    error::{Error, Result},
    pages::{self, PAGE},
    proto::{
        Barrier, EnterBarrierRequest, GetBarrierRequest, Guard, ListBarriersRequest,
        barrier_service_client::BarrierServiceClient, enter_barrier_request::Wait,
    },
    queue,
    session::Session,
};

/// A barrier about to be waited at. See [`Client::barrier`].
///
/// A double barrier is two of them:
///
/// ```no_run
/// # async fn example(client: stanchion_client::Client) -> stanchion_client::Result<()> {
/// let begun = client.barrier("step-7.begin", 3).enter().await?;
/// work(begun.index).await;
/// client.barrier("step-7.end", 3).enter().await?;
/// # Ok(())
/// # }
/// # async fn work(_: usize) {}
/// ```
#[derive(Debug, Clone)]
#[must_use = "nobody waits before one of the `enter` methods"]
pub struct BarrierRequest {
    client: Client,
    barrier: String,
    parties: u32,
    session: Option<Session>,
    guard: Option<Guard>,
}

/// What everybody who was released together is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BarrierPass {
    /// Which release it was: the same for all, and larger than any of the barrier before it.
    pub generation: i64,
    /// The place in the order in which they came, from 0: for one to do what only one should.
    pub index: usize,
    /// How many they were.
    pub parties: usize,
}

// === impl BarrierRequest ===

impl BarrierRequest {
    pub(crate) fn new(client: Client, barrier: &str, parties: u32) -> Self {
        Self {
            client,
            barrier: barrier.into(),
            parties,
            session: None,
            guard: None,
        }
    }

    /// The session that has to live until the barrier is released. Default: the one the client
    /// shares.
    pub fn session(mut self, session: Session) -> Self {
        self.session = Some(session);
        self
    }

    /// Enters only while a lock is held.
    pub fn guard(mut self, guard: Guard) -> Self {
        self.guard = Some(guard);
        self
    }

    /// Waits until all are there. Dropped, it waits no more, and is not counted.
    pub async fn enter(self) -> Result<BarrierPass> {
        self.enter_within(None).await
    }

    /// Waits at most so long; else fails with `BARRIER_NOT_RELEASED`.
    pub async fn enter_timeout(self, timeout: Duration) -> Result<BarrierPass> {
        self.enter_within(Some(timeout)).await
    }

    /// Passes if all others are there; else fails with `BARRIER_NOT_RELEASED`.
    pub async fn try_enter(self) -> Result<BarrierPass> {
        self.enter_within(Some(Duration::ZERO)).await
    }

    async fn enter_within(self, timeout: Option<Duration>) -> Result<BarrierPass> {
        let session = match self.session {
            Some(session) => session,
            None => self.client.session().await?,
        };
        let request = EnterBarrierRequest {
            namespace: self.client.namespace().into(),
            barrier: self.barrier,
            // What does not fit is more than a barrier may have, and refused by the server.
            parties: i32::try_from(self.parties).unwrap_or(i32::MAX),
            session_id: session.id().into(),
            request_id: request_id(),
            guard: self.guard,
            wait: None,
        };
        let caller = self.client.caller();
        let (patience, until) = caller.patience(timeout);
        // Repeats the same request, wherever it is answered, until the wait is over.
        let request = || EnterBarrierRequest {
            wait: queue::wait(until, Wait::NoWait(true), Wait::WaitTimeout),
            ..request.clone()
        };
        let entering = caller.call_with(patience, request, BarrierServiceClient::enter_barrier);
        let answer = tokio::select! {
            answer = entering => answer?,
            _ = session.lost() => return Err(Error::session_lost()),
        };
        let count = |count: i32| usize::try_from(count).unwrap_or_default();
        Ok(BarrierPass {
            generation: answer.generation,
            index: count(answer.index),
            parties: count(answer.parties),
        })
    }
}

// === impl Client ===

impl Client {
    /// Reads a barrier with those who wait at it.
    pub async fn get_barrier(&self, barrier: &str) -> Result<Barrier> {
        let request = GetBarrierRequest {
            namespace: self.namespace().into(),
            barrier: barrier.into(),
            ..Default::default()
        };
        let call = self
            .caller()
            .call(request, BarrierServiceClient::get_barrier);
        call.await?
            .barrier
            .ok_or_else(|| Error::contract("barrier"))
    }

    /// Reads the barriers at which somebody waits and whose name begins with `prefix`, without those
    /// who wait, all pages.
    pub async fn barriers(&self, prefix: &str) -> Result<Vec<Barrier>> {
        pages::all(move |page_token| async move {
            let request = ListBarriersRequest {
                namespace: self.namespace().into(),
                prefix: prefix.into(),
                page_size: PAGE,
                page_token,
                ..Default::default()
            };
            let page = self
                .caller()
                .call(request, BarrierServiceClient::list_barriers)
                .await?;
            Ok((page.barriers, page.next_page_token))
        })
        .await
    }
}
