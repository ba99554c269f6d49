//! Barriers: entering one, and looking at them.

use stanchion_client::proto::{
    self, EnterBarrierRequest, EnterBarrierResponse, GetBarrierRequest, GetBarrierResponse,
    ListBarriersRequest, ListBarriersResponse, enter_barrier_request,
};
use tonic::{Response, Status};

use crate::{
    domain::{
        Error,
        barrier::{Barrier, Enter, MAX_PARTIES, MIN_PARTIES, Participant, Release, WaitedAt},
        keyspace::BarrierPath,
        names::{BarrierName, MAX_NAME},
    },
    rpc::{
        Peer,
        convert::{Violations, wait, wire_count},
        hold::why_ended,
        page, status,
    },
};

use super::BarrierHandler;

pub(super) async fn enter(
    handler: &BarrierHandler,
    request: EnterBarrierRequest,
    peer: Option<Peer>,
) -> Result<Response<EnterBarrierResponse>, Status> {
    let address = peer.as_ref().map(|peer| peer.address.to_string());
    let enter = decode(request, address.unwrap_or_default())?;
    let passed = handler.context.barriers.enter(enter, why_ended(peer));
    let passed = passed.await.map_err(status::of)?;
    Ok(Response::new(EnterBarrierResponse {
        header: Some(handler.context.header.at(passed.revision)),
        generation: passed.generation,
        index: wire_count(passed.index),
        parties: wire_count(passed.parties),
    }))
}

pub(super) async fn get(
    handler: &BarrierHandler,
    request: GetBarrierRequest,
) -> Result<Response<GetBarrierResponse>, Status> {
    let mut v = Violations::new();
    let path = path(&mut v, &request.namespace, &request.barrier);
    let freshness = v.freshness(request.consistency, request.min_revision);
    let path = v.give(path)?;
    let read = handler.context.core.cache.read(freshness).await;
    let view = read.map_err(|error| status::of(error.into()))?;
    let claims_from = view.state.epoch.claims_from;
    let barrier = match view.state.barrier(&path) {
        Some(barrier) => proto::Barrier {
            participants: barrier
                .waiting(claims_from)
                .map(|p| participant(p))
                .collect(),
            ..wire(barrier, claims_from)
        },
        None => wire(&Barrier::new(path), claims_from),
    };
    Ok(Response::new(GetBarrierResponse {
        header: Some(handler.context.header.of(&view)),
        barrier: Some(barrier),
    }))
}

pub(super) async fn list(
    handler: &BarrierHandler,
    request: ListBarriersRequest,
) -> Result<Response<ListBarriersResponse>, Status> {
    let mut v = Violations::new();
    let namespace = v.namespace(&request.namespace);
    let prefix = v.text("prefix", request.prefix, MAX_NAME);
    let size = v.page_size(request.page_size);
    let freshness = v.freshness(request.consistency, request.min_revision);
    let selection = WaitedAt {
        namespace: v.give(namespace)?,
        prefix,
    };
    let read = handler.context.core.cache.read(freshness).await;
    let view = read.map_err(|error| status::of(error.into()))?;
    let (barriers, next_page_token) = page::of(&view, &selection, &request.page_token, size)?;
    let claims_from = view.state.epoch.claims_from;
    let barriers = barriers.iter().map(|barrier| wire(barrier, claims_from));
    Ok(Response::new(ListBarriersResponse {
        header: Some(handler.context.header.of(&view)),
        barriers: barriers.collect(),
        next_page_token,
    }))
}

fn decode(request: EnterBarrierRequest, address: String) -> Result<Enter, Status> {
    let mut v = Violations::new();
    let path = path(&mut v, &request.namespace, &request.barrier);
    let parties = u32::try_from(request.parties).unwrap_or_default();
    if !(MIN_PARTIES..=MAX_PARTIES).contains(&parties) {
        let rule = format!("must be {MIN_PARTIES} to {MAX_PARTIES}");
        v.add("parties", rule);
    }
    let session = v.session_id(&request.session_id);
    let request_id = v.request_id(&request.request_id);
    let wait = wait!(v, request.wait, enter_barrier_request);
    let guard = v.guard(request.guard, &request.namespace);
    Ok(Enter {
        path: v.give(path)?,
        parties,
        // One that cannot be is as good as one that is gone.
        session: session.ok_or_else(|| status::of(Error::LeaseExpired))?,
        request_id,
        wait,
        address,
        guard,
    })
}

fn path(v: &mut Violations, namespace: &str, barrier: &str) -> Option<BarrierPath> {
    let namespace = v.namespace(namespace);
    let name = v.take("barrier", BarrierName::parse(barrier));
    Some(BarrierPath {
        namespace: namespace?,
        name: name?,
    })
}

/// A barrier without its participants. Those of an era before `claims_from` do not count.
fn wire(barrier: &Barrier, claims_from: i64) -> proto::Barrier {
    let releases = barrier.releases.as_ref();
    let last = releases.and_then(|seen| seen.releases.first());
    proto::Barrier {
        namespace: barrier.path.namespace.to_string(),
        barrier: barrier.path.name.to_string(),
        parties: barrier.parties(claims_from).map_or(0, u32::cast_signed),
        participants: Vec::new(),
        participant_count: wire_count(barrier.waiting(claims_from).count()),
        last_release: last.map(release),
        revision: barrier.visible_revision,
    }
}

fn participant(participant: &Participant) -> proto::BarrierParticipant {
    proto::BarrierParticipant {
        client_id: participant.client_id.to_string(),
        create_time: Some(participant.create_time.into()),
        parties: participant.parties.cast_signed(),
        address: participant.address.clone(),
        revision: participant.create_revision,
    }
}

fn release(release: &Release) -> proto::BarrierRelease {
    proto::BarrierRelease {
        generation: release.generation,
        parties: wire_count(release.members.len()),
        release_time: Some(release.time.into()),
    }
}
