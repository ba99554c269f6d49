//! Watches: each is a task that reads the shared history at its reader's pace. Nothing is queued
//! for a slow reader; it falls behind until compaction overtakes it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

use super::{Shared, closed};
use crate::store::{Error, Event, Probe, Revision, Watch, WatchItem};

/// How many items wait for the reader, each one revision.
const BUFFER: usize = 16;

/// How many revisions are looked through before others get a turn.
const LOOK: usize = 1000;

struct Cursor {
    shared: Arc<Shared>,
    prefix: Bytes,
    /// The next revision to look at.
    next: Revision,
    /// Everything up to here was delivered or reported.
    reported: Revision,
    /// A report is due, even if it says nothing new.
    due: bool,
    asked: Arc<Notify>,
    published: tokio::sync::watch::Receiver<Revision>,
}

struct ProgressBell {
    shared: Arc<Shared>,
    asked: Arc<Notify>,
}

/// What a look at the history gave.
enum Look {
    Item(WatchItem),
    /// Nothing yet, there is more to look through.
    More,
    /// Nothing, and the cursor is at the end.
    End(Revision),
}

pub(super) fn start(shared: Arc<Shared>, prefix: Bytes, from: Revision) -> Watch {
    let (sender, items) = mpsc::channel(BUFFER);
    let asked = Arc::new(Notify::new());
    let next = if from > 0 {
        from
    } else {
        shared.state.load().revision + 1
    };
    let cursor = Cursor {
        shared: shared.clone(),
        prefix,
        next,
        reported: next - 1,
        due: false,
        asked: asked.clone(),
        published: shared.published.subscribe(),
    };
    tokio::spawn(cursor.run(sender));
    Watch {
        items,
        probe: Arc::new(ProgressBell { shared, asked }),
    }
}

// === impl Cursor ===

impl Cursor {
    async fn run(mut self, sender: mpsc::Sender<Result<WatchItem, Error>>) {
        let closing = self.shared.closed.clone();
        // The history is looked at only once there is room, so that a slow reader holds no old
        // state and is told of a compaction that overtook it.
        while let Ok(permit) = sender.reserve().await {
            let item = tokio::select! {
                biased;
                () = closing.cancelled() => Err(closed()),
                () = sender.closed() => return,
                item = self.item() => item,
            };
            let ended = item.is_err();
            permit.send(item);
            if ended {
                return;
            }
        }
    }

    async fn item(&mut self) -> Result<WatchItem, Error> {
        loop {
            self.published.mark_unchanged();
            match self.look()? {
                Look::Item(item) => return Ok(item),
                Look::More => tokio::task::yield_now().await,
                Look::End(revision) => {
                    // A watch that starts in the future has nothing to report before that.
                    if (self.due || revision > self.reported) && revision + 1 >= self.next {
                        self.due = false;
                        self.reported = revision;
                        return Ok(WatchItem::Progress(revision));
                    }
                    tokio::select! {
                        // The sender is in `Shared`: it outlives this.
                        _ = self.published.changed() => {}
                        () = self.asked.notified() => self.due = true,
                    }
                }
            }
        }
    }

    fn look(&mut self) -> Result<Look, Error> {
        let state = self.shared.state.load();
        if self.next < state.compacted {
            return Err(Error::Compacted {
                oldest: state.compacted,
            });
        }
        for (revision, events) in state.changes_from(self.next).take(LOOK) {
            self.next = revision + 1;
            let events: Vec<_> = events
                .iter()
                .filter(|event| event.key().starts_with(&self.prefix))
                .cloned()
                .collect::<Vec<Event>>();
            if !events.is_empty() {
                self.reported = revision;
                return Ok(Look::Item(WatchItem::Changes { revision, events }));
            }
        }
        if self.next > state.revision {
            return Ok(Look::End(state.revision));
        }
        Ok(if state.changes_from(self.next).next().is_some() {
            Look::More
        } else {
            // No revision without a log entry is left but that of an opening.
            self.next = state.revision + 1;
            Look::End(state.revision)
        })
    }
}

// === impl ProgressBell ===

#[async_trait]
impl Probe for ProgressBell {
    async fn current_revision(&self) -> Result<Revision, Error> {
        if self.shared.closed.is_cancelled() {
            return Err(closed());
        }
        Ok(self.shared.state.load().revision)
    }

    async fn request_progress(&self) {
        self.asked.notify_one();
    }
}
