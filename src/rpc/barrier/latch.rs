//! Latches: creating, counting, waiting, looking.

use stanchion_client::proto::{
    self, AwaitLatchRequest, AwaitLatchResponse, CountDownLatchRequest, CountDownLatchResponse,
    CreateLatchRequest, CreateLatchResponse, DeleteLatchRequest, DeleteLatchResponse,
    GetLatchRequest, GetLatchResponse, ListLatchesRequest, ListLatchesResponse,
    await_latch_request,
};
use tonic::{Response, Status};

use crate::{
    domain::{
        barrier::{Arrival, CreateLatch, Latch, LatchesOf, MAX_COUNT},
        keyspace::LatchPath,
        names::{LatchName, MAX_NAME, PartyName},
    },
    rpc::{
        convert::{Violations, wait, wire_count, wire_duration},
        page, status,
    },
};

use super::BarrierHandler;

pub(super) async fn create(
    handler: &BarrierHandler,
    request: CreateLatchRequest,
) -> Result<Response<CreateLatchResponse>, Status> {
    let create = decode(request)?;
    let there = handler.context.latches.create(&create).await;
    let there = there.map_err(status::of)?;
    Ok(Response::new(CreateLatchResponse {
        header: Some(handler.context.header.at(there.revision)),
        created: there.value.created,
        latch: Some(wire(&there.value.latch)),
    }))
}

pub(super) async fn count_down(
    handler: &BarrierHandler,
    request: CountDownLatchRequest,
) -> Result<Response<CountDownLatchResponse>, Status> {
    let mut v = Violations::new();
    let path = path(&mut v, &request.namespace, &request.latch);
    let party = v.take("party", PartyName::parse(&request.party));
    let guard = v.guard(request.guard, &request.namespace);
    let (path, party) = v.give(path.zip(party))?;
    let latches = &handler.context.latches;
    let counted = latches.count_down(&path, &party, guard.as_ref()).await;
    let (counted, remaining) = counted.map_err(status::of)?;
    Ok(Response::new(CountDownLatchResponse {
        header: Some(handler.context.header.at(counted.revision)),
        counted: counted.value,
        remaining: wire_count(remaining),
        open: remaining == 0,
    }))
}

pub(super) async fn wait(
    handler: &BarrierHandler,
    request: AwaitLatchRequest,
) -> Result<Response<AwaitLatchResponse>, Status> {
    let mut v = Violations::new();
    let path = path(&mut v, &request.namespace, &request.latch);
    let wait = wait!(v, request.wait, await_latch_request);
    let freshness = v.freshness(request.consistency, request.min_revision);
    let path = v.give(path)?;
    let open = handler.context.latches.wait(&path, wait, freshness).await;
    let revision = open.map_err(status::of)?;
    Ok(Response::new(AwaitLatchResponse {
        header: Some(handler.context.header.at(revision)),
    }))
}

pub(super) async fn get(
    handler: &BarrierHandler,
    request: GetLatchRequest,
) -> Result<Response<GetLatchResponse>, Status> {
    let mut v = Violations::new();
    let path = path(&mut v, &request.namespace, &request.latch);
    let freshness = v.freshness(request.consistency, request.min_revision);
    let path = v.give(path)?;
    let found = handler.context.latches.get(&path, freshness).await;
    let (latch, view) = found.map_err(status::of)?;
    let arrivals = latch.arrivals.iter();
    Ok(Response::new(GetLatchResponse {
        header: Some(handler.context.header.of(&view)),
        latch: Some(proto::Latch {
            arrivals: arrivals.map(|(party, at)| arrival(party, at)).collect(),
            ..wire(&latch)
        }),
    }))
}

pub(super) async fn list(
    handler: &BarrierHandler,
    request: ListLatchesRequest,
) -> Result<Response<ListLatchesResponse>, Status> {
    let mut v = Violations::new();
    let namespace = v.namespace(&request.namespace);
    let prefix = v.text("prefix", request.prefix, MAX_NAME);
    let size = v.page_size(request.page_size);
    let freshness = v.freshness(request.consistency, request.min_revision);
    let selection = LatchesOf {
        namespace: v.give(namespace)?,
        prefix,
    };
    let read = handler.context.core.cache.read(freshness).await;
    let view = read.map_err(|error| status::of(error.into()))?;
    let (latches, next_page_token) = page::of(&view, &selection, &request.page_token, size)?;
    Ok(Response::new(ListLatchesResponse {
        header: Some(handler.context.header.of(&view)),
        latches: latches.iter().map(|latch| wire(latch)).collect(),
        next_page_token,
    }))
}

pub(super) async fn delete(
    handler: &BarrierHandler,
    request: DeleteLatchRequest,
) -> Result<Response<DeleteLatchResponse>, Status> {
    let mut v = Violations::new();
    let path = path(&mut v, &request.namespace, &request.latch);
    let guard = v.guard(request.guard, &request.namespace);
    let path = v.give(path)?;
    let deleted = handler.context.latches.delete(&path, guard.as_ref()).await;
    let deleted = deleted.map_err(status::of)?;
    Ok(Response::new(DeleteLatchResponse {
        header: Some(handler.context.header.at(deleted.revision)),
        deleted: deleted.changed,
    }))
}

fn decode(request: CreateLatchRequest) -> Result<CreateLatch, Status> {
    let mut v = Violations::new();
    let path = path(&mut v, &request.namespace, &request.latch);
    let count = u32::try_from(request.count).unwrap_or_default();
    if !(1..=MAX_COUNT).contains(&count) {
        v.add("count", format!("must be 1 to {MAX_COUNT}"));
    }
    let lifetime = v.duration("lifetime", request.lifetime);
    let request_id = v.request_id(&request.request_id);
    let actor = v.label("actor", &request.actor);
    let guard = v.guard(request.guard, &request.namespace);
    Ok(CreateLatch {
        path: v.give(path)?,
        count,
        lifetime,
        request_id,
        actor,
        guard,
    })
}

fn path(v: &mut Violations, namespace: &str, latch: &str) -> Option<LatchPath> {
    let namespace = v.namespace(namespace);
    let name = v.take("latch", LatchName::parse(latch));
    Some(LatchPath {
        namespace: namespace?,
        name: name?,
    })
}

/// A latch without its arrivals.
fn wire(latch: &Latch) -> proto::Latch {
    let made = latch.made.as_deref();
    proto::Latch {
        namespace: latch.path.namespace.to_string(),
        latch: latch.path.name.to_string(),
        count: made.map_or(0, |made| made.count.cast_signed()),
        remaining: wire_count(latch.remaining()),
        open: latch.is_open(),
        lifetime: made.map(|made| wire_duration(made.lifetime)),
        actor: made.map_or_else(String::new, |made| made.actor.to_string()),
        create_time: made.map(|made| made.create_time.into()),
        create_revision: latch.create_revision(),
        revision: latch.visible_revision(),
        arrivals: Vec::new(),
    }
}

fn arrival(party: &PartyName, arrival: &Arrival) -> proto::LatchArrival {
    proto::LatchArrival {
        party: party.to_string(),
        create_time: Some(arrival.create_time.into()),
        revision: arrival.revision,
    }
}
