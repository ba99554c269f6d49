//! `HoldLeadership`: a candidate that stands and leads while somebody listens.

use stanchion_client::proto::{
    CampaignRequest, CandidateElected, CandidateLost, CandidateQueued, HoldLeadershipRequest,
    HoldLeadershipResponse, campaign_request::Wait, hold_leadership_request,
    hold_leadership_response::Message,
};
use tonic::{Request, Response, Status};

use crate::{
    domain::lock::News,
    rpc::{
        Context, Peer,
        convert::{wire_count, wire_duration},
        hold::{self, HoldStream},
        session::lost_cause,
    },
};

use super::decode;

pub(super) async fn answer(
    context: &Context,
    request: Request<HoldLeadershipRequest>,
) -> Result<Response<HoldStream<HoldLeadershipResponse>>, Status> {
    let peer = Peer::of(&request);
    let campaign = decode::campaign(alike(request.into_inner()))?;
    hold::open(context, campaign, peer, write).await
}

/// What makes the same candidate without a stream.
fn alike(request: HoldLeadershipRequest) -> CampaignRequest {
    CampaignRequest {
        namespace: request.namespace,
        election: request.election,
        session_id: request.session_id,
        request_id: request.request_id,
        wait: request.wait.map(|wait| match wait {
            hold_leadership_request::Wait::NoWait(no_wait) => Wait::NoWait(no_wait),
            hold_leadership_request::Wait::WaitTimeout(timeout) => Wait::WaitTimeout(timeout),
        }),
        candidate: request.candidate,
        proclamation: request.proclamation,
        metadata: request.metadata,
        guard: request.guard,
    }
}

fn write(context: &Context, news: News, revision: i64) -> Option<HoldLeadershipResponse> {
    let message = match news {
        News::Queued {
            fencing_token,
            position,
            waiting,
        } => Message::Queued(CandidateQueued {
            term: fencing_token,
            position: wire_count(position),
            candidate_count: wire_count(waiting),
        }),
        News::Acquired {
            fencing_token,
            valid_for,
        } => Message::Elected(CandidateElected {
            term: fencing_token,
            valid_for: valid_for.map(wire_duration),
        }),
        // There always are others, and nobody asks a leader to yield.
        News::Contended { .. } => return None,
        News::Lost {
            fencing_token,
            cause,
        } => Message::Lost(CandidateLost {
            term: fencing_token,
            cause: lost_cause(&cause).into(),
        }),
    };
    Some(HoldLeadershipResponse {
        header: Some(context.header.at(revision)),
        message: Some(message),
    })
}
