//! Watches of what can come to lead elsewhere: then they start over, there.

use http_body::Frame;
use stanchion_client::proto::{Reset, ResetReason, ServiceName};
use tonic::Status;

use bytes::{Bytes, BytesMut};

use crate::{
    domain::{
        keyspace::ServiceKey,
        state::{State, StateProjection},
        watch::{Selection, Start},
    },
    rpc::{framed, layers::trailers, status},
    store::Revision,
};

use super::{WatchBody, WatchResponse};

/// How a watch follows where its selection leads.
pub struct Routing<S> {
    /// Whether the watcher comes from where it led before.
    pub moved: bool,
    /// When anything came to lead elsewhere last, as of the state it was looked up in.
    pub as_of: Revision,
    /// The selection as a state has it, if that leads elsewhere.
    pub follow: fn(&S, &State) -> Option<S>,
    /// The service of which it shows something.
    pub service: fn(&S) -> Option<ServiceKey>,
    /// What every message says of it.
    pub tell: fn(&S) -> Routed,
    /// Whether it is protected in a state, which every message says too.
    pub protected: fn(&S, &State) -> bool,
}

/// What messages say of where a selection leads.
#[derive(Debug, Default)]
pub struct Routed {
    /// The service that is shown, if it is another one than was asked for.
    pub answered_by: Option<ServiceName>,
    /// Whether none is.
    pub broken: bool,
}

// === impl WatchBody ===

impl<S: Selection<StateProjection>, R: WatchResponse> WatchBody<S, R> {
    /// Goes where the selection leads now, if that is elsewhere, and says so.
    ///
    /// To be called when there is nothing to tell and a waker is in place: what changes after that
    /// rings for it.
    pub(super) fn reroute(&mut self) -> Option<Result<Frame<Bytes>, Status>> {
        let routing = self.routing.as_mut()?;
        if !std::mem::take(&mut routing.moved) {
            // This is asked each time a watch has nothing to tell.
            let as_of = self.core.cache.peek(|state| state.routes_revision)?;
            if routing.as_of == as_of {
                return None;
            }
            let view = self.core.cache.view().ok()?;
            routing.as_of = view.state.routes_revision;
            let selection = (routing.follow)(self.cursor.selection(), &view.state)?;
            let options = self.options.clone();
            let cursor = self
                .core
                .cache
                .subscribe(selection, Start::Snapshot, options);
            match cursor {
                Ok(cursor) => {
                    if let Some(subscription) = &mut self.subscription
                        && let Some(service) = (routing.service)(cursor.selection())
                    {
                        subscription.goes_to(service);
                    }
                    self.cursor = cursor;
                }
                Err(error) => {
                    self.ended = true;
                    return Some(trailers(&status::of(error.into())));
                }
            }
        }
        let reset = R::reset(Reset {
            reason: ResetReason::AliasChanged.into(),
        });
        let mut frames = BytesMut::new();
        framed::append(&mut frames, &self.seal(reset, 0, Bytes::new()));
        self.yielded = true;
        Some(Ok(Frame::data(frames.freeze())))
    }
}
