//! Elections: candidates, terms, proclamations, and those who look who leads.

mod bad_input;
mod campaigns;
mod faults;
mod guards;
mod hold;
mod loss;
mod observing;
mod proclamations;
mod replicas;
mod resignations;
mod storm;

use std::time::Duration;

use stanchion_client::proto::{
    CampaignRequest, CampaignResponse, Candidate, Consistency, Election, GetLeaderRequest,
    OpenSessionRequest, ProclaimRequest, ResignRequest, campaign_request::Wait,
    resign_request::Claim,
};
use tokio::task::JoinHandle;
use tonic::Status;

use crate::support::server::{Server, eventually};

/// Opens a session that outlives the test.
async fn open(server: &Server) -> String {
    let request = OpenSessionRequest {
        ttl: Some(prost_types::Duration {
            seconds: 60,
            nanos: 0,
        }),
        ..Default::default()
    };
    let opened = server.sessions().open_session(request).await.unwrap();
    opened.into_inner().session_id
}

/// Stands for ever.
fn standing(election: &str, session: &str, request: &str) -> CampaignRequest {
    CampaignRequest {
        election: election.into(),
        session_id: session.into(),
        request_id: request.into(),
        ..Default::default()
    }
}

/// Does not wait.
fn trying(election: &str, session: &str, request: &str) -> CampaignRequest {
    CampaignRequest {
        wait: Some(Wait::NoWait(true)),
        ..standing(election, session, request)
    }
}

async fn campaign(server: &Server, request: CampaignRequest) -> Result<CampaignResponse, Status> {
    let answer = server.elections().campaign(request).await;
    answer.map(tonic::Response::into_inner)
}

/// A call that runs by itself; aborting it cuts it off.
fn spawn(
    server: &Server,
    request: CampaignRequest,
) -> JoinHandle<Result<CampaignResponse, Status>> {
    let mut elections = server.elections();
    tokio::spawn(async move {
        let answer = elections.campaign(request).await;
        answer.map(tonic::Response::into_inner)
    })
}

/// The term of a leader that nobody stood against.
async fn lead(server: &Server, election: &str, session: &str, request: &str) -> i64 {
    let elected = campaign(server, trying(election, session, request)).await;
    elected.unwrap().term
}

async fn proclaim(
    server: &Server,
    election: &str,
    session: &str,
    term: i64,
    text: &str,
) -> Result<Candidate, Status> {
    let request = ProclaimRequest {
        election: election.into(),
        session_id: session.into(),
        term,
        proclamation: text.to_owned().into(),
        ..Default::default()
    };
    let answer = server.elections().proclaim(request).await;
    answer.map(|answer| answer.into_inner().leader.unwrap())
}

async fn resign(
    server: &Server,
    election: &str,
    session: &str,
    claim: Claim,
) -> Result<bool, Status> {
    let request = ResignRequest {
        election: election.into(),
        session_id: session.into(),
        claim: Some(claim),
        ..Default::default()
    };
    let answer = server.elections().resign(request).await;
    answer.map(|answer| answer.into_inner().resigned)
}

/// The election as the store has it.
async fn election(server: &Server, election: &str) -> Election {
    let request = GetLeaderRequest {
        election: election.into(),
        consistency: Consistency::Linearizable.into(),
        ..Default::default()
    };
    let answer = server.elections().get_leader(request).await.unwrap();
    answer.into_inner().election.unwrap()
}

/// Waits until so many stand besides the leader.
async fn until_standing(server: &Server, name: &str, candidates: usize) -> Election {
    eventually("the candidates to be there", || async {
        let election = election(server, name).await;
        (election.candidates.len() == candidates).then_some(election)
    })
    .await
}
