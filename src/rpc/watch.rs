//! Watch streams: one implementation for everything that can be watched.

mod response;
mod routing;
mod subscription;
mod terms;

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body::Frame;
use stanchion_client::proto::{
    self, Bookmark, DeleteCause, EventType, Final, Reset, ResponseHeader, SnapshotEnd,
};
use tokio_stream::Empty;
use tonic::{Response, Status};

use crate::{
    domain::{
        Core,
        epoch::Epoch,
        state::{Cause, StateProjection},
        watch::{
            Action, Cursor, CursorOptions, FinalReason, Message, ResetReason, Selection, Token,
            Told,
        },
    },
    rpc::{convert::wire_duration, framed, layers::trailers, status},
};

pub(crate) use self::response::watch_response;
pub use self::{
    response::WatchResponse,
    routing::{Routed, Routing},
    subscription::Subscription,
    terms::{Asks, Terms},
};

/// What the framework sees of a watch: nothing, because its messages are written here.
pub type WatchStream<R> = Empty<Result<R, Status>>;

/// Times and bounds of watch streams.
#[derive(Debug, Clone)]
pub struct Settings {
    /// After how much quiet a bookmark is sent. Default 10 s.
    pub bookmark_interval: Duration,
    /// When a stream ends by itself, ± 10 %. Default 30 min.
    pub max_age: Duration,
    /// How large a part of a snapshot or delta is, in bytes. Default 256 KiB.
    pub part_bytes: usize,
    /// A subscriber that took no message for longer than this is cut off when it comes back:
    /// until then it costs a position and what its connection buffers. Default 5 min.
    pub stall_limit: Duration,
}

/// The body of a watch's answer.
struct WatchBody<S: Selection<StateProjection>, R: WatchResponse> {
    core: Arc<Core>,
    cursor: Cursor<S>,
    item: fn(&S::Item) -> R::Item,
    subscription: Option<Subscription>,
    asks: Option<Asks<S::Item>>,
    routing: Option<Routing<S>>,
    /// How the cursor was opened.
    options: CursorOptions,
    stall_limit: Duration,
    /// What is left of a message that goes out in pieces.
    rest: VecDeque<Bytes>,
    /// The transport has something that it did not have to come back for yet.
    yielded: bool,
    ended: bool,
}

/// Opens a watch of `selection`. `item` writes an item for the wire.
pub fn open<S, R>(
    core: &Arc<Core>,
    settings: &Settings,
    selection: S,
    terms: Terms<S::Item>,
    item: fn(&S::Item) -> R::Item,
) -> Result<Response<WatchStream<R>>, Status>
where
    S: Selection<StateProjection>,
    R: WatchResponse,
    R::Item: 'static,
{
    open_routed(core, settings, selection, terms, item, None)
}

/// Opens a watch of `selection`, which can come to lead elsewhere.
pub fn open_routed<S, R>(
    core: &Arc<Core>,
    settings: &Settings,
    selection: S,
    terms: Terms<S::Item>,
    item: fn(&S::Item) -> R::Item,
    routing: Option<Routing<S>>,
) -> Result<Response<WatchStream<R>>, Status>
where
    S: Selection<StateProjection>,
    R: WatchResponse,
    R::Item: 'static,
{
    let options = CursorOptions {
        min_interval: terms.min_interval,
        bookmark_interval: settings.bookmark_interval,
        max_age: settings.max_age.mul_f64(rand::random_range(0.9..1.1)),
        part_bytes: settings.part_bytes,
    };
    let cursor = core
        .cache
        .subscribe(selection, terms.start, options.clone())
        .map_err(|error| status::of(error.into()))?;
    let body = WatchBody::<S, R> {
        core: core.clone(),
        cursor,
        item,
        subscription: terms.subscription,
        asks: terms.asks,
        routing,
        options,
        stall_limit: settings.stall_limit,
        rest: VecDeque::new(),
        yielded: false,
        ended: false,
    };
    Ok(framed::answer(tokio_stream::empty(), body))
}

// === impl WatchBody ===

/// Nothing in it is pinned.
impl<S: Selection<StateProjection>, R: WatchResponse> Unpin for WatchBody<S, R> {}

impl<S: Selection<StateProjection>, R: WatchResponse> http_body::Body for WatchBody<S, R> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if let Some(bytes) = this.rest.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if this.ended {
            return Poll::Ready(None);
        }
        this.note_taken();
        // This runs again only when the transport has taken what it got before.
        if std::mem::take(&mut this.yielded) {
            let stalled = this.core.clock.now() - this.cursor.last_message();
            if stalled > this.stall_limit {
                this.ended = true;
                if let Some(subscription) = this.subscription.take() {
                    subscription.breaks();
                }
                return Poll::Ready(Some(trailers(&status::subscriber_too_slow())));
            }
        }
        if this.routing.as_ref().is_some_and(|routing| routing.moved) {
            return Poll::Ready(this.reroute());
        }
        let Poll::Ready(told) = this.cursor.poll_told(context) else {
            if let Some(frame) = this.reroute() {
                return Poll::Ready(Some(frame));
            }
            this.note_taken();
            return Poll::Pending;
        };
        if let (Some(subscription), Some(told)) = (&this.subscription, &told) {
            let requested = match subscription.acknowledges() {
                true => this.requested(told),
                false => None,
            };
            subscription.tells(this.cursor.token().revision, requested);
        }
        let bytes = match told {
            None => {
                this.ended = true;
                if let Some(subscription) = this.subscription.take() {
                    subscription.moves_on();
                }
                return Poll::Ready(Some(trailers(&Status::ok(""))));
            }
            Some(Told::Run(run)) => run.wire.get_or_make(|| this.run(&run.messages)),
            Some(Told::Alone(message)) => {
                let mut frames = BytesMut::new();
                framed::append(&mut frames, &this.response(&message));
                frames.freeze()
            }
            Some(Told::Items { items, revision }) => {
                let shared = items.wire.get_or_make(|| this.snapshot(&items.items));
                let own = this.seal(R::default(), revision, Bytes::new());
                this.rest = framed::frame(&own, shared).into();
                this.rest.pop_front().unwrap_or_default()
            }
        };
        this.yielded = true;
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}

impl<S: Selection<StateProjection>, R: WatchResponse> WatchBody<S, R> {
    /// Notes that the transport has all that there was.
    fn note_taken(&self) {
        if let Some(subscription) = &self.subscription {
            subscription.took(self.cursor.seen());
        }
    }

    /// The last revision in what is told that is to be acknowledged.
    fn requested(&self, told: &Told<S::Item>) -> Option<i64> {
        let asks = self.asks?;
        let revision = |message: &Message<S::Item>| match message {
            Message::SnapshotEnd { revision } | Message::Delta { revision, .. } => Some(*revision),
            Message::Snapshot { .. } | Message::Bookmark { .. } | Message::Reset { .. } => None,
        };
        let messages = match told {
            Told::Alone(message) => std::slice::from_ref(message),
            Told::Run(run) => &run.messages,
            Told::Items { .. } => &[],
        };
        let last = messages.iter().rev().find(|message| asks(message));
        last.and_then(revision)
    }

    /// Deltas that others are told as well.
    fn run(&self, messages: &[Message<S::Item>]) -> Bytes {
        let mut frames = BytesMut::new();
        for message in messages {
            framed::append(&mut frames, &self.response(message));
        }
        frames.freeze()
    }

    /// What a part of a snapshot says to everybody.
    fn snapshot(&self, items: &[S::Item]) -> Bytes {
        let items = items.iter().map(self.item).collect();
        R::snapshot(items).encode_to_vec().into()
    }

    fn response(&self, message: &Message<S::Item>) -> R {
        let (revision, whole, response) = match message {
            Message::Snapshot { items, revision } => (
                *revision,
                false,
                R::snapshot(items.iter().map(self.item).collect()),
            ),
            Message::SnapshotEnd { revision } => {
                let end = SnapshotEnd {
                    revision: *revision,
                };
                (*revision, true, R::snapshot_end(end))
            }
            Message::Delta {
                prev_revision,
                revision,
                events,
                conflated,
                last_part,
            } => {
                let events = events
                    .iter()
                    .map(|event| {
                        let (kind, cause) = action(event.action);
                        (kind, cause, (self.item)(&event.item))
                    })
                    .collect();
                let revisions = (*prev_revision, *revision);
                let delta = R::delta(revisions, events, *conflated, *last_part);
                (*revision, *last_part, delta)
            }
            Message::Bookmark { revision, last } => {
                let last = match last {
                    None => Final::Unspecified,
                    Some(FinalReason::Draining) => Final::Draining,
                    Some(FinalReason::MaxAge) => Final::MaxAge,
                };
                let bookmark = Bookmark {
                    revision: *revision,
                    r#final: last.into(),
                };
                (*revision, true, R::bookmark(bookmark))
            }
            Message::Reset { reason } => {
                let reason = match reason {
                    ResetReason::EpochChanged => proto::ResetReason::EpochChanged,
                    ResetReason::Behind => proto::ResetReason::BehindLog,
                    ResetReason::Ahead => proto::ResetReason::Ahead,
                };
                let reset = Reset {
                    reason: reason.into(),
                };
                (0, false, R::reset(reset))
            }
        };
        // Between the parts of something there is nothing to resume from but its beginning.
        let token = whole.then(|| Token {
            revision,
            ..self.cursor.token()
        });
        let token = token.map_or_else(Bytes::new, |token| token.encode().into());
        let requested = self.asks.is_some_and(|asks| asks(message));
        self.seal(response.ack_requested(requested), revision, token)
    }

    /// Adds what every message has.
    fn seal(&self, response: R, revision: i64, token: Bytes) -> R {
        let mut response = response.sealed(self.header(revision), token);
        if let Some(routing) = &self.routing {
            let selection = self.cursor.selection();
            let protected = |state: &_| (routing.protected)(selection, state);
            let protected = self.core.cache.peek(protected).unwrap_or_default();
            response = response
                .routed((routing.tell)(selection))
                .protected(protected);
        }
        response
    }

    /// The header of a message at `revision`; 0: of one that says nothing of the state.
    fn header(&self, revision: i64) -> ResponseHeader {
        ResponseHeader {
            revision,
            // The cursor's own, which the cache may have left behind by now.
            epoch: Epoch::name_of(self.cursor.token().epoch),
            replica: self.core.replica.to_string(),
            age: self.core.cache.age().map(wire_duration),
        }
    }
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            bookmark_interval: Duration::from_secs(10),
            max_age: Duration::from_secs(1800),
            part_bytes: 256 * 1024,
            stall_limit: Duration::from_secs(300),
        }
    }
}

fn action(action: Action<Cause>) -> (EventType, DeleteCause) {
    match action {
        Action::Added => (EventType::Added, DeleteCause::Unspecified),
        Action::Modified => (EventType::Modified, DeleteCause::Unspecified),
        Action::Deleted(cause) => (
            EventType::Deleted,
            match cause {
                Cause::Deregistered => DeleteCause::Deregistered,
                Cause::Expired => DeleteCause::Expired,
                Cause::SessionClosed => DeleteCause::SessionClosed,
                Cause::NoLongerMatching => DeleteCause::NoLongerMatching,
                Cause::Deleted => DeleteCause::Deleted,
                Cause::Forced => DeleteCause::Forced,
                Cause::Empty => DeleteCause::Empty,
                Cause::Released => DeleteCause::Released,
                Cause::Drained => DeleteCause::Drained,
                Cause::Unhealthy => DeleteCause::Unhealthy,
            },
        ),
    }
}
