//! What the answer of a watch looks like on the wire: the same for all but the item.

use bytes::Bytes;
use stanchion_client::proto::{
    Bookmark, DeleteCause, EventType, Reset, ResponseHeader, SnapshotEnd,
};

use super::Routed;

/// The answer type of one watch method; they are alike but for the item.
/// `watch_response!` implements it.
pub trait WatchResponse: prost::Message + Default + 'static {
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
    /// Adds whether what is watched is protected, where messages say so.
    fn protected(self, _protected: bool) -> Self {
        self
    }
    /// Adds whether it is to be acknowledged, where messages say so.
    fn ack_requested(self, _requested: bool) -> Self {
        self
    }
    /// Adds where what is watched leads, where messages say so.
    fn routed(self, _routed: Routed) -> Self {
        self
    }
}

/// Implements [`WatchResponse`] for a generated response type.
macro_rules! watch_response {
    ($response:ident in $module:ident, $snapshot:ident { $items:ident }, $delta:ident, $event:ident { $field:ident: $item:ty } $(, $protected:ident, $requested:ident)?) => {
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

            $(
                fn protected(mut self, protected: bool) -> Self {
                    self.$protected = protected;
                    self
                }

                fn ack_requested(mut self, requested: bool) -> Self {
                    self.$requested = requested;
                    self
                }

                fn routed(mut self, routed: $crate::rpc::watch::Routed) -> Self {
                    self.answered_by = routed.answered_by;
                    self.alias_broken = routed.broken;
                    self
                }
            )?
        }
    };
}
pub(crate) use watch_response;
