//! Watch streams: one implementation for everything that can be watched.

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{Stream, stream};
use stanchion_client::proto::{
    self, Bookmark, DeleteCause, EventType, Final, Reset, ResponseHeader, SnapshotEnd,
};
use tonic::Status;

use crate::{
    domain::{
        Core,
        epoch::Epoch,
        state::{Cause, StateProjection},
        watch::{
            Action, Cursor, CursorOptions, FinalReason, Message, ResetReason, Selection, Start,
        },
    },
    rpc::{convert::wire_duration, status},
};

/// The stream of a watch.
pub type WatchStream<R> = Pin<Box<dyn Stream<Item = Result<R, Status>> + Send>>;

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

/// The answer type of one watch method; they are alike but for the item.
/// `watch_response!` implements it.
pub trait WatchResponse: Sized + Send + 'static {
    /// The item on the wire.
    type Item;

    /// A part of a snapshot.
    fn snapshot(items: Vec<Self::Item>) -> Self;
    /// The end of a snapshot.
    fn snapshot_end(end: SnapshotEnd) -> Self;
    /// A delta, or a part of one.
    fn delta(
        revisions: (i64, i64),
        events: Vec<(EventType, DeleteCause, Self::Item)>,
        conflated: bool,
        last_part: bool,
    ) -> Self;
    /// A bookmark.
    fn bookmark(bookmark: Bookmark) -> Self;
    /// A reset.
    fn reset(reset: Reset) -> Self;
    /// Adds what every message has.
    fn sealed(self, header: ResponseHeader, resume_token: Bytes) -> Self;
}

/// Implements [`WatchResponse`] for a generated response type.
macro_rules! watch_response {
    ($response:ident in $module:ident, $snapshot:ident { $items:ident }, $delta:ident, $event:ident { $field:ident: $item:ty }) => {
        impl $crate::rpc::watch::WatchResponse for stanchion_client::proto::$response {
            type Item = $item;

            fn snapshot(items: Vec<Self::Item>) -> Self {
                let snapshot = stanchion_client::proto::$snapshot { $items: items };
                Self {
                    message: Some(stanchion_client::proto::$module::Message::Snapshot(
                        snapshot,
                    )),
                    ..Default::default()
                }
            }

            fn snapshot_end(end: stanchion_client::proto::SnapshotEnd) -> Self {
                Self {
                    message: Some(stanchion_client::proto::$module::Message::SnapshotEnd(end)),
                    ..Default::default()
                }
            }

            fn delta(
                (prev_revision, revision): (i64, i64),
                events: Vec<(
                    stanchion_client::proto::EventType,
                    stanchion_client::proto::DeleteCause,
                    Self::Item,
                )>,
                conflated: bool,
                last_part: bool,
            ) -> Self {
                let events = events
                    .into_iter()
                    .map(|(kind, cause, item)| stanchion_client::proto::$event {
                        r#type: kind.into(),
                        cause: cause.into(),
                        $field: Some(item),
                    })
                    .collect();
                let delta = stanchion_client::proto::$delta {
                    prev_revision,
                    revision,
                    events,
                    conflated,
                    last_part,
                };
                Self {
                    message: Some(stanchion_client::proto::$module::Message::Delta(delta)),
                    ..Default::default()
                }
            }

            fn bookmark(bookmark: stanchion_client::proto::Bookmark) -> Self {
                Self {
                    message: Some(stanchion_client::proto::$module::Message::Bookmark(
                        bookmark,
                    )),
                    ..Default::default()
                }
            }

            fn reset(reset: stanchion_client::proto::Reset) -> Self {
                Self {
                    message: Some(stanchion_client::proto::$module::Message::Reset(reset)),
                    ..Default::default()
                }
            }

            fn sealed(
                mut self,
                header: stanchion_client::proto::ResponseHeader,
                resume_token: bytes::Bytes,
            ) -> Self {
                self.header = Some(header);
                self.resume_token = resume_token;
                self
            }
        }
    };
}
pub(crate) use watch_response;

/// What one stream needs between two messages.
struct Running<S: Selection<StateProjection>, R> {
    core: Arc<Core>,
    cursor: Cursor<S>,
    item: fn(&S::Item) -> R,
    stall_limit: Duration,
    yielded: Option<Instant>,
    cut: bool,
}

/// Opens the stream of a watch of `selection`. `item` writes an item for the wire.
pub fn stream<S, R>(
    core: &Arc<Core>,
    settings: &Settings,
    selection: S,
    start: Start,
    min_interval: Duration,
    item: fn(&S::Item) -> R::Item,
) -> Result<WatchStream<R>, Status>
where
    S: Selection<StateProjection>,
    R: WatchResponse,
    R::Item: Send + 'static,
{
    let options = CursorOptions {
        min_interval,
        bookmark_interval: settings.bookmark_interval,
        max_age: settings.max_age.mul_f64(rand::random_range(0.9..1.1)),
        part_bytes: settings.part_bytes,
    };
    let cursor = core
        .cache
        .subscribe(selection, start, options)
        .map_err(|error| status::of(error.into()))?;
    let running = Running {
        core: core.clone(),
        cursor,
        item,
        stall_limit: settings.stall_limit,
        yielded: None,
        cut: false,
    };
    Ok(Box::pin(stream::unfold(
        running,
        |mut running| async move {
            let message = running.next::<R>().await?;
            Some((message, running))
        },
    )))
}

// === impl Running ===

impl<S: Selection<StateProjection>, I> Running<S, I> {
    async fn next<R: WatchResponse<Item = I>>(&mut self) -> Option<Result<R, Status>> {
        if self.cut {
            return None;
        }
        // This runs again only when the transport has taken the message before.
        let now = self.core.clock.now();
        if let Some(yielded) = self.yielded
            && now.duration_since(yielded) > self.stall_limit
        {
            self.cut = true;
            return Some(Err(status::subscriber_too_slow()));
        }
        let message = self.cursor.next().await?;
        let response = self.encode(message);
        self.yielded = Some(self.core.clock.now());
        Some(Ok(response))
    }

    fn encode<R: WatchResponse<Item = I>>(&self, message: Message<S::Item>) -> R {
        let item = self.item;
        let (revision, whole, response) = match message {
            Message::Snapshot { items, revision } => (
                revision,
                false,
                R::snapshot(items.iter().map(item).collect()),
            ),
            Message::SnapshotEnd { revision } => {
                (revision, true, R::snapshot_end(SnapshotEnd { revision }))
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
                        (kind, cause, item(&event.item))
                    })
                    .collect();
                let delta = R::delta((prev_revision, revision), events, conflated, last_part);
                (revision, last_part, delta)
            }
            Message::Bookmark { revision, last } => {
                let last = match last {
                    None => Final::Unspecified,
                    Some(FinalReason::Draining) => Final::Draining,
                    Some(FinalReason::MaxAge) => Final::MaxAge,
                };
                let bookmark = Bookmark {
                    revision,
                    r#final: last.into(),
                };
                (revision, true, R::bookmark(bookmark))
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
        let token = if whole {
            self.cursor.token().encode().into()
        } else {
            Bytes::new()
        };
        response.sealed(self.header(revision), token)
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
                Cause::Empty => DeleteCause::Empty,
                Cause::Released => DeleteCause::Released,
            },
        ),
    }
}
