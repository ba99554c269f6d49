//! `DrainInstance`: a drain, followed to its end.

use std::{pin::Pin, time::Duration};

use futures_util::{Stream, stream};
use stanchion_client::proto::{self, DrainInstanceRequest, DrainInstanceResponse, DrainLaggard};
use tonic::{Response, Status};

use crate::{
    domain::{
        audit::Caller,
        names::ReplicaId,
        registry::{DrainCall, DrainOutcome, DrainProgress, DrainRequest, Laggard},
    },
    rpc::{Context, convert::Violations, status},
};

use super::decode::{key, session};

/// The messages of one call.
pub(super) type DrainStream =
    Pin<Box<dyn Stream<Item = Result<DrainInstanceResponse, Status>> + Send>>;

/// The shortest deadline.
const MIN_DEADLINE: Duration = Duration::from_secs(1);

/// Begins to drain.
pub(super) async fn answer(
    context: &Context,
    request: DrainInstanceRequest,
    caller: Caller,
) -> Result<Response<DrainStream>, Status> {
    let request = decode(context, request, caller)?;
    let call = context.drains.drain(request).await.map_err(status::of)?;
    let context = context.clone();
    let told = stream::try_unfold(Some(call), move |call| next(context.clone(), call));
    Ok(Response::new(Box::pin(told)))
}

async fn next(
    context: Context,
    call: Option<DrainCall>,
) -> Result<Option<(DrainInstanceResponse, Option<DrainCall>)>, Status> {
    let Some(mut call) = call else {
        return Ok(None);
    };
    let progress = call.next().await.map_err(status::of)?;
    let rest = progress.outcome.is_none().then_some(call);
    Ok(Some((encode(&context, progress), rest)))
}

fn decode(
    context: &Context,
    request: DrainInstanceRequest,
    caller: Caller,
) -> Result<DrainRequest, Status> {
    let settings = &context.core.settings;
    let mut v = Violations::new();
    let key = key(
        &mut v,
        ("", &request.namespace),
        &request.service,
        &request.instance_id,
    );
    let deadline = v.duration("deadline", request.deadline);
    let deadline = deadline.filter(|deadline| !deadline.is_zero());
    let deadline = deadline.unwrap_or(settings.drain_deadline);
    let longest = settings.max_drain_deadline;
    if deadline < MIN_DEADLINE || deadline > longest {
        let longest = humantime::format_duration(longest);
        v.add("deadline", format!("must be 1s to {longest}"));
    }
    let session = session(&mut v, &request.session_id);
    let expected_revision = v.expected_revision(request.expected_revision, 1);
    let guard = v.guard(request.guard, &request.namespace);
    let actor = v.label("actor", &request.actor);
    let key = v.give(key)?;
    Ok(DrainRequest {
        key,
        deadline,
        session,
        expected_revision,
        guard,
        actor,
        caller,
    })
}

fn encode(context: &Context, progress: DrainProgress) -> DrainInstanceResponse {
    let outcome = match progress.outcome {
        None => proto::DrainOutcome::Unspecified,
        Some((DrainOutcome::Acknowledged, _)) => proto::DrainOutcome::Acknowledged,
        Some((DrainOutcome::Deadline, _)) => proto::DrainOutcome::Deadline,
        Some((DrainOutcome::Overtaken, _)) => proto::DrainOutcome::Overtaken,
    };
    let header = match progress.outcome {
        Some((_, revision)) => context.header.at(revision),
        None => context.header.now(),
    };
    let laggard = |(replica, laggard): (ReplicaId, Laggard)| DrainLaggard {
        client_id: laggard.client_id,
        address: laggard.address,
        replica: replica.to_string(),
        broken: laggard.broken,
    };
    let count = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    DrainInstanceResponse {
        header: Some(header),
        drain: format!("{:016x}", progress.drain.id),
        deadline: Some(progress.drain.deadline.into()),
        subscriber_count: count(progress.subscribers),
        done_count: count(progress.done),
        laggards: progress.laggards.into_iter().map(laggard).collect(),
        silent_replicas: progress.silent.iter().map(ToString::to_string).collect(),
        outcome: outcome.into(),
    }
}
