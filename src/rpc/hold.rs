//! Streams that hold something for as long as they live: locks, and the lead of elections.

use std::pin::Pin;

use futures_util::{Stream, StreamExt, stream};
use tonic::{Response, Status};

use crate::domain::lock::{Acquire, AskWhyEnded, Holding, News, Told, WhyEnded};

use super::{Context, Peer, status};

/// The messages of one call.
pub(super) type HoldStream<R> = Pin<Box<dyn Stream<Item = Result<R, Status>> + Send>>;

/// How news are written; `None`: not at all.
pub(super) type Write<R> = fn(&Context, News, i64) -> Option<R>;

/// Claims what `acquire` is about for as long as the answer lives. Answers once there is something
/// to say, so that a refusal is the answer.
pub(super) async fn open<R: Send + 'static>(
    context: &Context,
    acquire: Acquire,
    peer: Option<Peer>,
    write: Write<R>,
) -> Result<Response<HoldStream<R>>, Status> {
    let mut holding = context.locks.hold(acquire, why_ended(peer));
    let context = context.clone();
    let first = next(&context, &mut holding, write).await?;
    let rest = stream::try_unfold(
        (context, holding),
        move |(context, mut holding)| async move {
            let next = next(&context, &mut holding, write).await?;
            Ok(next.map(|next| (next, (context, holding))))
        },
    );
    let first = stream::iter(first.map(Ok));
    Ok(Response::new(Box::pin(first.chain(rest))))
}

/// Asks a client's connection why the client does not listen any more.
pub(super) fn why_ended(peer: Option<Peer>) -> AskWhyEnded {
    Box::new(move || match &peer {
        Some(peer) if peer.is_silent() => WhyEnded::Silent,
        Some(peer) if !peer.is_lost() => WhyEnded::Done,
        _ => WhyEnded::Lost,
    })
}

async fn next<R>(
    context: &Context,
    holding: &mut Holding,
    write: Write<R>,
) -> Result<Option<R>, Status> {
    loop {
        let told = holding.next().await.map_err(status::of)?;
        let Some(Told { news, revision }) = told else {
            return Ok(None);
        };
        if let Some(written) = write(context, news, revision) {
            return Ok(Some(written));
        }
    }
}
