//! Latches: they open once enough has happened, and stay open.

use std::time::Duration;

use crate::{
    Client,
    call::request_id,
    duration::to_wire,
    error::{Error, Result},
    pages::{self, PAGE},
    proto::{
        self, AwaitLatchRequest, CountDownLatchRequest, CountDownLatchResponse, CreateLatchRequest,
        CreateLatchResponse, DeleteLatchRequest, GetLatchRequest, Guard, ListLatchesRequest,
        await_latch_request::Wait, barrier_service_client::BarrierServiceClient,
    },
    queue,
};

/// A latch, whether it is there or not. See [`Client::latch`].
///
/// ```no_run
/// # async fn example(client: stanchion_client::Client) -> stanchion_client::Result<()> {
/// let ready = client.latch("ready");
/// ready.create(3).await?;
/// ready.count_down("node-1").await?;
/// ready.wait().await?; // until two others have counted
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Latch {
    client: Client,
    latch: String,
    lifetime: Option<Duration>,
    guard: Option<Guard>,
}

// === impl Latch ===

impl Latch {
    pub(crate) fn new(client: Client, latch: &str) -> Self {
        Self {
            client,
            latch: latch.into(),
            lifetime: None,
            guard: None,
        }
    }

    /// How long it lives once it is created: 1 min to 30 d, default 24 h.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// Changes it only while a lock is held.
    pub fn guard(mut self, guard: Guard) -> Self {
        self.guard = Some(guard);
        self
    }

    /// Creates it, to be opened by so many parties, or finds it there with the same count.
    pub async fn create(&self, count: u32) -> Result<CreateLatchResponse> {
        let request = CreateLatchRequest {
            namespace: self.client.namespace().into(),
            latch: self.latch.clone(),
            // What does not fit is more than a latch may have, and refused by the server.
            count: i32::try_from(count).unwrap_or(i32::MAX),
            lifetime: self.lifetime.map(to_wire),
            request_id: request_id(),
            actor: self.client.actor().into(),
            guard: self.guard.clone(),
        };
        let caller = self.client.caller();
        caller
            .call(request, BarrierServiceClient::create_latch)
            .await
    }

    /// Counts it down for a party, once however often this is called.
    pub async fn count_down(&self, party: &str) -> Result<CountDownLatchResponse> {
        let request = CountDownLatchRequest {
            namespace: self.client.namespace().into(),
            latch: self.latch.clone(),
            party: party.into(),
            guard: self.guard.clone(),
        };
        let caller = self.client.caller();
        caller
            .call(request, BarrierServiceClient::count_down_latch)
            .await
    }

    /// Waits until it is open.
    pub async fn wait(&self) -> Result<()> {
        self.wait_within(None).await
    }

    /// Waits at most so long; else fails with `LATCH_NOT_OPEN`.
    pub async fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        self.wait_within(Some(timeout)).await
    }

    async fn wait_within(&self, timeout: Option<Duration>) -> Result<()> {
        let caller = self.client.caller();
        let (patience, until) = caller.patience(timeout);
        let request = || AwaitLatchRequest {
            namespace: self.client.namespace().into(),
            latch: self.latch.clone(),
            wait: queue::wait(until, Wait::NoWait(true), Wait::WaitTimeout),
            ..Default::default()
        };
        caller
            .call_with(patience, request, BarrierServiceClient::await_latch)
            .await?;
        Ok(())
    }

    /// Reads it, with the parties that have counted it down.
    pub async fn get(&self) -> Result<proto::Latch> {
        let request = GetLatchRequest {
            namespace: self.client.namespace().into(),
            latch: self.latch.clone(),
            ..Default::default()
        };
        let caller = self.client.caller();
        let answer = caller.call(request, BarrierServiceClient::get_latch);
        answer.await?.latch.ok_or_else(|| Error::contract("latch"))
    }

    /// Deletes it with all that was counted. Answers whether it was there.
    pub async fn delete(&self) -> Result<bool> {
        let request = DeleteLatchRequest {
            namespace: self.client.namespace().into(),
            latch: self.latch.clone(),
            guard: self.guard.clone(),
        };
        let caller = self.client.caller();
        let answer = caller.call(request, BarrierServiceClient::delete_latch);
        Ok(answer.await?.deleted)
    }
}

// === impl Client ===

impl Client {
    /// Reads the latches whose name begins with `prefix`, without arrivals, all pages.
    pub async fn latches(&self, prefix: &str) -> Result<Vec<proto::Latch>> {
        pages::all(move |page_token| async move {
            let request = ListLatchesRequest {
                namespace: self.namespace().into(),
                prefix: prefix.into(),
                page_size: PAGE,
                page_token,
                ..Default::default()
            };
            let page = self
                .caller()
                .call(request, BarrierServiceClient::list_latches)
                .await?;
            Ok((page.latches, page.next_page_token))
        })
        .await
    }
}
