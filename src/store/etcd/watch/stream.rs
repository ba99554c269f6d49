//! One stream of a watch, on one member.

use std::sync::Arc;

use bytes::Bytes;
use etcd_client::{WatchOptions, WatchRequestSender, WatchResponseStream};
use futures_util::FutureExt as _;
use tokio::time::timeout;

use super::super::{
    error::{from_cancel, from_client, unavailable},
    link::Carrier,
    member::Member,
    pool::{Pool, Prefer, blame},
    version::Version,
};
use crate::store::{Error, Outcome, Revision};

/// An open stream with its one watch.
pub(super) struct Stream {
    pub(super) member: Arc<Member>,
    pub(super) requests: WatchRequestSender,
    pub(super) frames: WatchResponseStream,
    pub(super) cut: Cut,
    /// Something has arrived.
    pub(super) spoke: bool,
    pub(super) id: i64,
    /// The member's revision when it created the watch.
    pub(super) revision: Revision,
    /// The member's word on requested progress can be trusted.
    pub(super) safe: bool,
}

/// How etcd sends what takes much room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// All that it has at hand in one message.
    Whole,
    /// In messages of the size of a request.
    Fragments,
}

// === impl Stream ===

impl Stream {
    pub(super) fn carrier(&self) -> Carrier {
        Carrier {
            member: Arc::clone(&self.member),
            safe: self.safe,
        }
    }

    /// Asks for progress. When the requests of before are still unsent, one more changes nothing.
    pub(super) fn ask(&mut self) {
        let _ = self.requests.request_progress().now_or_never();
    }

    /// How the stream after this one, which broke, is to be cut: what was too large to be taken, or
    /// too slow to arrive while we waited, may come in fragments.
    pub(super) fn cut_after(&self, error: &Error) -> Cut {
        let whole = self.spoke && !matches!(error, Error::Invalid(_));
        if whole { Cut::Whole } else { Cut::Fragments }
    }
}

/// Opens a watch on the first member that lets us, each asked once, a single one twice.
pub(super) async fn open_anywhere(
    pool: &Pool,
    prefix: &Bytes,
    from: Revision,
) -> Result<Stream, Error> {
    let members = pool.ranked(&Prefer::Any);
    let attempts = members.len().max(2);
    let mut failure = unavailable("there is no etcd member", Outcome::NotDone);
    for member in members.iter().chain(&members).take(attempts) {
        match open(pool, member, prefix, from, Cut::Whole).await {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                blame(member, &error);
                if !error.is_transient() {
                    return Err(error);
                }
                failure = error;
            }
        }
    }
    Err(failure)
}

/// Opens a watch on a member, with a new token if it minds the one it knows: it says so inside the
/// stream, where nobody else would hear it.
#[tracing::instrument(name = "etcd.watch", level = "info", skip_all, fields(server.address = member.endpoint, from), err(level = "debug"))]
pub(super) async fn open(
    pool: &Pool,
    member: &Arc<Member>,
    prefix: &Bytes,
    from: Revision,
    cut: Cut,
) -> Result<Stream, Error> {
    match open_once(pool, member, prefix, from, cut).await {
        Err(Error::Denied(_)) if member.renew_token() => {
            open_once(pool, member, prefix, from, cut).await
        }
        result => result,
    }
}

async fn open_once(
    pool: &Pool,
    member: &Arc<Member>,
    prefix: &Bytes,
    from: Revision,
    cut: Cut,
) -> Result<Stream, Error> {
    let mut options = WatchOptions::new()
        .with_prefix()
        .with_start_revision(from)
        .with_progress_notify();
    if cut == Cut::Fragments {
        options = options.with_fragment();
    }
    let mut watch = member.watch.clone();
    let opening = async {
        let (requests, mut frames) = watch
            .watch(prefix.to_vec(), Some(options))
            .await
            .map_err(from_client)?
            .split();
        let first = frames.message().await.map_err(from_client)?;
        let Some(first) = first else {
            return Err(unavailable("etcd ended the watch", Outcome::NotDone));
        };
        if first.canceled() {
            return Err(from_cancel(first.compact_revision(), first.cancel_reason()));
        }
        if !first.created() {
            return Err(unavailable(
                "etcd did not confirm the watch",
                Outcome::NotDone,
            ));
        }
        // Asked now, because the server may be another one than when it was asked last.
        let report = member.probe(pool.settings.probe_timeout).await?;
        let version = report.version.parse::<Version>();
        Ok(Stream {
            safe: version.is_ok_and(Version::has_safe_progress),
            member: Arc::clone(member),
            requests,
            cut,
            spoke: false,
            id: first.watch_id(),
            revision: first.header().map_or(0, |header| header.revision()),
            frames,
        })
    };
    match timeout(pool.settings.watch_open_timeout, opening).await {
        Ok(result) => result,
        Err(_) => Err(Error::Timeout {
            outcome: Outcome::NotDone,
        }),
    }
}
