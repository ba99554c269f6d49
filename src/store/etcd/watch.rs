//! Watches that survive their connections.
//!
//! One task follows one watch: it reads a stream until that breaks, and opens the next where the
//! last whole revision ended, on another member if there is one. Each watch has a stream of its
//! own, because etcd reports progress on request only when all watches of a stream are up to date.
//!
//! etcd can send what a watch has to catch up with in fragments, but measures all that a fragment
//! holds again for each event it adds: history made of large transactions then costs it a fifth of
//! a second per megabyte. So fragments are only asked for when something did not arrive whole.

mod stream;

use std::sync::Arc;

use bytes::Bytes;
use etcd_client::WatchResponse;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use self::stream::{Cut, Stream, open, open_anywhere};
use super::{
    error::{from_cancel, from_client, unavailable, with_outcome},
    events::Assembler,
    link::Link,
    member::Member,
    pool::{Backoff, Pool, Prefer, blame},
};
use crate::{
    planted::{self, Bug},
    store::{Error, Outcome, Revision, Watch, WatchItem},
};

/// Opens a watch and starts the task that follows it.
pub(super) async fn watch(
    pool: &Arc<Pool>,
    prefix: Bytes,
    from: Revision,
    stop: &CancellationToken,
) -> Result<Watch, Error> {
    let stream = open_anywhere(pool, &prefix, from).await?;
    // Pinned, so that a break before the first event leaves no gap either.
    let complete = match from {
        0 => stream.revision,
        from => from - 1,
    };
    let link = Arc::new(Link::new(pool, &prefix));
    let (sender, items) = mpsc::channel(pool.settings.watch_buffer.max(1));
    let follower = Follower {
        pool: Arc::clone(pool),
        prefix,
        assembler: Assembler::new(complete),
        link: Arc::clone(&link),
        items: sender,
    };
    let stop = stop.clone();
    tokio::spawn(async move {
        let dropped = follower.items.clone();
        tokio::select! {
            () = dropped.closed() => {}
            () = stop.cancelled() => {}
            () = follower.run(stream) => {}
        }
    });
    Ok(Watch { items, probe: link })
}

struct Follower {
    pool: Arc<Pool>,
    prefix: Bytes,
    assembler: Assembler,
    link: Arc<Link>,
    items: mpsc::Sender<Result<WatchItem, Error>>,
}

/// Why a stream is not followed any more.
enum End {
    /// Nobody reads the watch.
    Unread,
    Broken(Error),
}

// === impl Follower ===

impl Follower {
    async fn run(mut self, mut stream: Stream) {
        loop {
            self.link.carried_by(Some(stream.carrier()));
            let error = match self.follow(&mut stream).await {
                End::Unread => return,
                End::Broken(error) => error,
            };
            self.link.carried_by(None);
            let cut = stream.cut_after(&error);
            if cut == stream.cut && self.cannot_go_on(&error).await {
                return;
            }
            tracing::warn!(endpoint = stream.member.endpoint, %error, "an etcd watch broke and is resumed");
            blame(&stream.member, &error);
            let failed = Arc::clone(&stream.member);
            // Frees the stream before another is opened.
            drop(stream);
            if self.items.send(Ok(WatchItem::Interrupted)).await.is_err() {
                return;
            }
            stream = match self.reopen(failed, cut).await {
                Some(stream) => stream,
                None => return,
            };
            if self.items.send(Ok(WatchItem::Resumed)).await.is_err() {
                return;
            }
        }
    }

    /// Reads a stream until it breaks.
    async fn follow(&mut self, stream: &mut Stream) -> End {
        let quiet = self.pool.settings.watch_silence;
        let answer = self.pool.settings.watch_progress_timeout;
        let (link, member) = (Arc::clone(&self.link), Arc::clone(&stream.member));
        let mut deadline = Instant::now() + quiet;
        let mut asked = false;
        loop {
            tokio::select! {
                frame = stream.frames.message() => {
                    let items = match frame {
                        Ok(Some(frame)) => {
                            stream.spoke = true;
                            self.take(stream, frame)
                        }
                        Ok(None) => Err(unavailable("etcd ended the watch", Outcome::NotDone)),
                        Err(error) => Err(from_client(error)),
                    };
                    match items {
                        Ok(items) => for item in items {
                            // A reader that lags stops us here, and through us etcd.
                            if self.items.send(Ok(item)).await.is_err() {
                                return End::Unread;
                            }
                        },
                        Err(error) => return End::Broken(error),
                    }
                    deadline = Instant::now() + quiet;
                    asked = false;
                }
                () = link.wanted.notified() => {
                    stream.ask();
                    if !asked {
                        asked = true;
                        deadline = deadline.min(Instant::now() + answer);
                    }
                }
                () = member.unresponsive() => {
                    return End::Broken(unavailable("its member does not answer", Outcome::NotDone));
                }
                () = member.left.cancelled() => {
                    return End::Broken(unavailable("its member is not used any more", Outcome::NotDone));
                }
                () = sleep_until(deadline) => {
                    if !asked {
                        stream.ask();
                        asked = true;
                        deadline = Instant::now() + answer;
                    } else if let Err(error) = self.check_silence(stream).await {
                        return End::Broken(error);
                    } else {
                        deadline = Instant::now() + quiet;
                        asked = false;
                    }
                }
            }
        }
    }

    /// Makes items of a frame.
    fn take(&mut self, stream: &Stream, frame: WatchResponse) -> Result<Vec<WatchItem>, Error> {
        let frame = frame.0;
        if frame.canceled && planted::is(Bug::IgnoreCanceled) {
            return Ok(Vec::new());
        }
        if frame.canceled {
            return Err(from_cancel(frame.compact_revision, &frame.cancel_reason));
        }
        if !frame.events.is_empty() {
            return self
                .assembler
                .frame(frame.events, !frame.fragment)
                .map_err(|disorder| unavailable(disorder.0, Outcome::NotDone));
        }
        // Its own timer's reports keep their place among the events in every version; requested
        // ones do only in some.
        let trusted = frame.watch_id == stream.id || stream.safe;
        let revision = frame.header.map_or(0, |header| header.revision);
        let progress = trusted && !frame.created && !frame.fragment;
        Ok(Vec::from_iter(
            progress
                .then(|| self.assembler.progress(revision))
                .flatten(),
        ))
    }

    /// What to make of a watch that does not say how far it is. Old servers may rightly keep
    /// silent: there it is enough that the member answers a read.
    async fn check_silence(&self, stream: &Stream) -> Result<(), Error> {
        if stream.safe {
            return Err(Error::Timeout {
                outcome: Outcome::NotDone,
            });
        }
        let limit = self.pool.settings.watch_progress_timeout;
        let read = || {
            let mut kv = stream.member.kv.clone();
            async move { kv.get(self.prefix.to_vec(), None).await }
        };
        let read = stream.member.ask(limit, read).await;
        read.map(drop)
            .map_err(|error| with_outcome(error, Outcome::NotDone))
    }

    /// Opens the watch again where its last whole revision ended, however long that takes; `None`
    /// when it cannot go on and the reader knows.
    async fn reopen(&mut self, mut failed: Arc<Member>, cut: Cut) -> Option<Stream> {
        let mut backoff = Backoff::new(&self.pool.settings);
        loop {
            backoff.pause().await;
            let member = self.pool.pick(&Prefer::Any, Some(&failed))?;
            let from = self.assembler.resume();
            match open(&self.pool, &member, &self.prefix, from, cut).await {
                Ok(stream) => {
                    if stream.revision < from - 1 {
                        tracing::warn!(
                            endpoint = member.endpoint,
                            revision = stream.revision,
                            expected = from - 1,
                            "an etcd member is behind what the watch has seen"
                        );
                    }
                    return Some(stream);
                }
                Err(error) => {
                    if self.cannot_go_on(&error).await {
                        return None;
                    }
                    tracing::debug!(endpoint = member.endpoint, %error, "a watch cannot be resumed yet");
                    blame(&member, &error);
                    failed = member;
                }
            }
        }
    }

    /// Tells the reader when nothing can close the gap.
    async fn cannot_go_on(&self, error: &Error) -> bool {
        let ends = matches!(error, Error::Compacted { .. } | Error::Invalid(_));
        if ends {
            // A reader that left needs no reason.
            let _ = self.items.send(Err(error.clone())).await;
        }
        ends
    }
}
