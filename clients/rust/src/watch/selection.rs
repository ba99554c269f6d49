//! What can be watched, and what the messages of a watch say.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tonic::{Status, Streaming, transport::Channel};

use super::Change;
use crate::proto::{Final, ResetReason, ResponseHeader, WatchStart};

/// What can be watched: a request of one of the watch methods. Its `start` is set by the watch.
pub trait Selection: Clone + Send + Sync + Unpin + 'static {
    /// One message of the stream.
    type Response: Send + 'static;
    /// What is selected.
    type Item: Clone + Send + Sync + 'static;

    /// Calls the method.
    fn open(
        self,
        channel: Channel,
        start: Option<WatchStart>,
    ) -> BoxFuture<'static, Result<Streaming<Self::Response>, Status>>;

    /// Names the watch, so that it is known again when it is resumed elsewhere.
    fn introduce(&mut self, _client_id: &str) {}

    /// Tells the server that everything up to `revision` is in effect, if that was promised.
    fn acknowledge(
        &self,
        _channel: Channel,
        _revision: i64,
    ) -> Option<BoxFuture<'static, Result<(), Status>>> {
        None
    }

    /// Takes a message apart.
    fn read(response: Self::Response) -> Message<Self::Item>;

    /// What tells an item from the others of the selection.
    fn key(item: &Self::Item) -> String;
}

/// A message of a watch, whatever it watches.
#[derive(Debug)]
pub struct Message<T> {
    /// Which state the message shows.
    pub header: ResponseHeader,
    /// Resumes after this message. Empty where there is nothing to resume from.
    pub resume_token: Bytes,
    /// Whether the serving view also shows suspect and unhealthy instances.
    pub protected: bool,
    /// Whether the server wants to know when the message is in effect.
    pub ack_requested: bool,
    /// What the message says; nothing if this release does not know it.
    pub body: Option<Body<T>>,
}

/// What a message of a watch says.
#[derive(Debug)]
pub enum Body<T> {
    /// Part of a snapshot.
    Snapshot(Vec<T>),
    /// The snapshot is complete.
    SnapshotEnd {
        /// Revision it shows.
        revision: i64,
    },
    /// A delta, or part of one.
    Delta {
        /// Revision it leads to.
        revision: i64,
        /// What changed.
        changes: Vec<Change<T>>,
        /// Whether changes of several revisions are merged.
        conflated: bool,
        /// Whether it ends the delta.
        last_part: bool,
    },
    /// Nothing changed, or the stream ends.
    Bookmark {
        /// Revision through which the watch is current.
        revision: i64,
        /// Why the stream ends, if it does.
        r#final: Final,
    },
    /// A snapshot follows.
    Reset(ResetReason),
}
