//! `ElectionService`: who leads, who waits to, and what leaders proclaim.

mod decode;
mod encode;
mod hold;

use std::sync::Arc;

use stanchion_client::proto::{
    self, CampaignRequest, CampaignResponse, GetLeaderRequest, GetLeaderResponse,
    HoldLeadershipRequest, HoldLeadershipResponse, ListElectionsRequest, ListElectionsResponse,
    ObserveLeaderRequest, ObserveLeaderResponse, ProclaimRequest, ProclaimResponse, ResignRequest,
    ResignResponse,
};
use tonic::{Request, Response, Status, async_trait};

use crate::{
    cache::Freshness,
    domain::{
        keyspace::QueueKind,
        lock::{Claim, HeldLocks, LeaderOf, Locks},
        names::MAX_NAME,
        state::View,
    },
    proto::server::election_service_server::ElectionService,
    rpc::{
        Context,
        convert::Violations,
        hold::HoldStream,
        page, status,
        watch::{self, WatchStream, watch_response},
    },
};

watch_response!(ObserveLeaderResponse in observe_leader_response, LeaderSnapshot { leaders }, LeaderDelta, LeaderEvent { leader: proto::Candidate });

/// The handler of `ElectionService`.
pub struct ElectionHandler {
    context: Context,
    locks: Locks,
}

// === impl ElectionHandler ===

impl ElectionHandler {
    /// A handler over one replica.
    pub fn new(context: Context) -> Self {
        Self {
            locks: context.locks.clone(),
            context,
        }
    }

    async fn read(&self, freshness: Freshness) -> Result<View, Status> {
        let read = self.context.core.read(freshness).await;
        read.map_err(|error| status::of(error.into()))
    }
}

#[async_trait]
impl ElectionService for ElectionHandler {
    type ObserveLeaderStream = WatchStream<ObserveLeaderResponse>;
    type HoldLeadershipStream = HoldStream<HoldLeadershipResponse>;

    async fn campaign(
        &self,
        request: Request<CampaignRequest>,
    ) -> Result<Response<CampaignResponse>, Status> {
        let campaign = decode::campaign(request.into_inner())?;
        let elected = self.locks.acquire(campaign).await.map_err(status::of)?;
        Ok(Response::new(CampaignResponse {
            header: Some(self.context.header.at(elected.revision)),
            term: elected.claim.waiter.fencing_token(),
            leader: Some(encode::candidate(&elected.claim)),
        }))
    }

    async fn hold_leadership(
        &self,
        request: Request<HoldLeadershipRequest>,
    ) -> Result<Response<Self::HoldLeadershipStream>, Status> {
        hold::answer(&self.context, request).await
    }

    async fn proclaim(
        &self,
        request: Request<ProclaimRequest>,
    ) -> Result<Response<ProclaimResponse>, Status> {
        let proclaim = decode::proclaim(request.into_inner())?;
        let proclaimed = self.locks.proclaim(proclaim).await.map_err(status::of)?;
        Ok(Response::new(ProclaimResponse {
            header: Some(self.context.header.at(proclaimed.revision)),
            leader: Some(encode::candidate(&proclaimed.value)),
        }))
    }

    async fn resign(
        &self,
        request: Request<ResignRequest>,
    ) -> Result<Response<ResignResponse>, Status> {
        let resign = decode::resign(request.into_inner())?;
        let resigned = self.locks.release(resign).await.map_err(status::of)?;
        Ok(Response::new(ResignResponse {
            header: Some(self.context.header.at(resigned.revision)),
            resigned: resigned.released,
        }))
    }

    async fn get_leader(
        &self,
        request: Request<GetLeaderRequest>,
    ) -> Result<Response<GetLeaderResponse>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::new();
        let path = decode::path(&mut violations, &request.namespace, &request.election);
        let freshness = violations.freshness(request.consistency, request.min_revision);
        let path = violations.give(path)?;
        let view = self.read(freshness).await?;
        let election = encode::whole_election(&path, view.state.queue(&path).map(AsRef::as_ref));
        let token = self
            .context
            .core
            .cache
            .token(&view, &LeaderOf { election: path });
        Ok(Response::new(GetLeaderResponse {
            header: Some(self.context.header.of(&view)),
            election: Some(election),
            resume_token: token.encode().into(),
        }))
    }

    async fn list_elections(
        &self,
        request: Request<ListElectionsRequest>,
    ) -> Result<Response<ListElectionsResponse>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::new();
        let namespace = violations.namespace(&request.namespace);
        let prefix = violations.text("prefix", request.prefix, MAX_NAME);
        let size = violations.page_size(request.page_size);
        let freshness = violations.freshness(request.consistency, request.min_revision);
        let selection = HeldLocks {
            kind: QueueKind::Election,
            namespace: violations.give(namespace)?,
            prefix,
        };
        let view = self.read(freshness).await?;
        let (elections, next_page_token) = page::of(&view, &selection, &request.page_token, size)?;
        Ok(Response::new(ListElectionsResponse {
            header: Some(self.context.header.of(&view)),
            elections: elections
                .iter()
                .map(|queue| encode::election(queue))
                .collect(),
            next_page_token,
        }))
    }

    async fn observe_leader(
        &self,
        request: Request<ObserveLeaderRequest>,
    ) -> Result<Response<Self::ObserveLeaderStream>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::new();
        let path = decode::path(&mut violations, &request.namespace, &request.election);
        let freshness = violations.freshness(request.consistency, 0);
        let min_interval = violations.min_interval(request.min_interval);
        let start = violations.start(request.start, &self.context.header.epoch());
        let selection = LeaderOf {
            election: violations.give(path)?,
        };
        // What the first message shows is at least as new as this.
        self.read(freshness).await?;
        let settings = &self.context.settings.watch;
        let leader = |leader: &Arc<Claim>| encode::candidate(leader);
        let terms = watch::Terms::new(start, min_interval);
        watch::open(&self.context.core, settings, selection, terms, leader)
    }
}
