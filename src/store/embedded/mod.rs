//! The store in this process: etcd's semantics over one state in memory, journalled to a file or
//! not.
//!
//! ```text
//! range, read-only txn ─────────────────────────────▶ published state (immutable, shared)
//! txn, grant, revoke ──▶ queue ──▶ writer thread ──▶ redb, one sync per batch ──▶ publish, answer
//!                          ▲                                                        │
//! lease deadlines ─────────┘                       watches: cursors over it ◀───────┘
//! ```
//!
//! What makes it safe: one thread writes; a state is published, and its answers given, only after
//! the sync; what a reader holds never changes. A journal that fails ends the process
//! ([`Settings::on_failure`]), because nobody can say what the disk has.

mod digest;
mod journal;
mod lease;
mod state;
mod txn;
mod watch;
mod writer;

#[cfg(test)]
mod sync_tests;

use std::{fmt, path::PathBuf, sync::Arc, thread, time::Duration};

use arc_swap::{ArcSwap, Guard};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use self::{
    journal::{Journal, Opened},
    lease::Deadlines,
    state::State,
    writer::{Answer, Request, Writer},
};
use crate::{
    clock::Clock,
    store::{
        Error, Kind, LeaseId, Member, Outcome, RangeRequest, RangeResponse, Renewal, Revision,
        Status, Store, Txn, TxnResponse, Watch,
    },
};

/// The exit code of a process whose store cannot be written any more.
const EXIT_INTERNAL: i32 = 70;

/// Where the data is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// In a directory, which is made if need be and serves one process at a time.
    File(PathBuf),
    /// In memory, gone with the process.
    Memory,
}

/// What is told, once, that the journal failed.
pub type OnFailure = Arc<dyn Fn(&str) + Send + Sync>;

/// What an embedded store can be told.
#[derive(Clone)]
pub struct Settings {
    /// The shortest time to live that a lease is granted. Default 2 s, as etcd does with its
    /// default settings; whole seconds, rounded up.
    pub min_ttl: Duration,
    /// Called on the writer's thread when a write or a sync failed, with a message for the log.
    /// Whatever was not answered by then never will be, and the store is closed. The default logs
    /// and exits with code 70.
    pub on_failure: OnFailure,
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another store of this one, has it open.
    #[error("the data directory {} is in use by another process", directory.display())]
    InUse {
        /// The directory.
        directory: PathBuf,
    },
    /// It was written by another version of Stanchion.
    #[error("{} has format {found}, this version knows {known}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The format it says it has.
        found: i64,
        /// The format this code reads.
        known: i64,
    },
    /// It cannot be what a store left.
    #[error("{} is damaged: {message}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The machine does not let us.
    #[error("{} cannot be opened: {message}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        message: String,
    },
}

/// The embedded store. Dropping it ends its watches and, soon, its thread; [`Embedded::close`]
/// waits for that.
pub struct Embedded {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Request>,
    min_ttl: Duration,
    location: Location,
    openings: i64,
    /// Sends what has expired to the writer.
    _expiry: AbortOnDropHandle<()>,
}

/// What the writer, the readers and the watches share.
struct Shared {
    state: ArcSwap<State>,
    /// The revision of `state`, to wake watches.
    published: tokio::sync::watch::Sender<Revision>,
    deadlines: Deadlines,
    clock: Arc<dyn Clock>,
    closed: CancellationToken,
}

// === impl Embedded ===

impl Embedded {
    /// Opens the store, or makes a new one.
    ///
    /// A file that was used before goes on at the revision after its last, without history, and
    /// every lease gets its full time again. Needs a Tokio runtime.
    pub async fn open(
        location: Location,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let opened = match &location {
            Location::Memory => None,
            Location::File(directory) => {
                let directory = directory.clone();
                let path = directory.clone();
                let opened = tokio::task::spawn_blocking(move || Journal::open(&directory))
                    .await
                    // redb does not check all it reads: some damage makes it panic.
                    .map_err(|error| OpenError::Corrupt {
                        path,
                        message: error.to_string(),
                    })??;
                Some(opened)
            }
        };
        Self::start(location, opened, settings, clock)
    }

    /// Finishes what is queued and closes the file. What is asked later, and what still waited
    /// behind this, fails [`Error::Unavailable`]; watches end with it.
    pub async fn close(&self) {
        if self.queue.send(Request::Close).await.is_ok() {
            // The writer lets go of the file first, of the queue last.
            self.queue.closed().await;
        }
    }

    fn start(
        location: Location,
        opened: Option<Opened>,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let (journal, state, openings) = match opened {
            Some(opened) => (Some(opened.journal), opened.state, opened.openings),
            None => (None, State::new(1, 0), 0),
        };
        let shared = Arc::new(Shared {
            published: tokio::sync::watch::Sender::new(state.revision),
            deadlines: Deadlines::default(),
            closed: CancellationToken::new(),
            clock,
            state: ArcSwap::from_pointee(state),
        });
        let now = shared.clock.now();
        for (id, ttl) in shared.state.load().leases() {
            shared.deadlines.start(id, ttl, now);
        }
        let (queue, requests) = mpsc::channel(writer::QUEUE);
        let writer = Writer {
            shared: shared.clone(),
            journal,
            queue: requests,
            on_failure: settings.on_failure,
        };
        thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run())
            .map_err(|error| OpenError::Io {
                path: location.path(),
                message: error.to_string(),
            })?;
        let expiry = tokio::spawn(expire(shared.clone(), queue.clone()));
        Ok(Self {
            shared,
            queue,
            min_ttl: settings.min_ttl,
            location,
            openings,
            _expiry: AbortOnDropHandle::new(expiry),
        })
    }

    async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Result<T, Error> {
        if self.shared.closed.is_cancelled() {
            return Err(closed());
        }
        let (answer, outcome) = oneshot::channel();
        let request = request(answer);
        self.queue.send(request).await.map_err(|_| closed())?;
        outcome.await.unwrap_or_else(|_| {
            Err(Error::Unavailable {
                message: "the store was closed".into(),
                outcome: Outcome::Unknown,
            })
        })
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded")
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.shared.closed.cancel();
    }
}

#[async_trait]
impl Store for Embedded {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        txn::check_key(&request.keys.start)?;
        let state = self.shared.current()?;
        state.check_revision(request.revision)?;
        Ok(state.read(&request, state.revision))
    }

    async fn txn(&self, request: Txn) -> Result<TxnResponse, Error> {
        txn::check(&request)?;
        if txn::reads_only(&request) {
            let mut state = State::clone(&*self.shared.current()?);
            return txn::apply(&mut state, &request);
        }
        self.ask(|answer| Request::Txn(request, answer)).await
    }

    async fn grant(&self, id: LeaseId, ttl: Duration) -> Result<Duration, Error> {
        if id <= 0 {
            return Err(Error::Invalid(format!("a lease id is positive, not {id}")));
        }
        let ttl = lease::granted(ttl, self.min_ttl);
        if ttl > lease::MAX_TTL {
            return Err(Error::Invalid(format!("a lease of {ttl:?} is too long")));
        }
        self.ask(|answer| Request::Grant(id, ttl, answer)).await
    }

    async fn keep_alive(&self, id: LeaseId) -> Result<Renewal, Error> {
        let known = self.shared.current()?.lease(id).is_some();
        let sent = self.shared.clock.now();
        if let Some(ttl) = self.shared.deadlines.renew(id, sent) {
            return Ok(Renewal { ttl, sent });
        }
        if known {
            // It is over but its keys are still seen: say so when they are not.
            self.ask(|answer| Request::Expire(id, answer)).await?;
        }
        Err(Error::LeaseNotFound)
    }

    async fn revoke(&self, id: LeaseId) -> Result<(), Error> {
        self.ask(|answer| Request::Revoke(id, answer)).await
    }

    async fn watch(&self, prefix: Bytes, from: Revision) -> Result<Watch, Error> {
        self.shared.current()?;
        Ok(watch::start(self.shared.clone(), prefix, from))
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.ask(|answer| Request::Compact(revision, answer)).await
    }

    async fn status(&self) -> Result<Status, Error> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let (kind, promise) = match self.location {
            Location::File(_) => (Kind::File, "embedded: durable on this disk, one replica"),
            Location::Memory => (Kind::Memory, "embedded: in memory, gone at exit"),
        };
        Ok(Status {
            kind,
            version: version.clone(),
            promise: promise.into(),
            members: vec![Member {
                name: String::new(),
                endpoint: self.location.path().display().to_string(),
                version,
                leader: true,
                error: None,
            }],
            revision: self.shared.current()?.revision,
            timeline: -self.openings,
            timeline_at_most: -self.openings,
            warnings: Vec::new(),
        })
    }
}

// === impl Shared ===

impl Shared {
    /// The latest state, unless the store is closed.
    fn current(&self) -> Result<Guard<Arc<State>>, Error> {
        if self.closed.is_cancelled() {
            return Err(closed());
        }
        Ok(self.state.load())
    }

    fn publish(&self, state: State) {
        let revision = state.revision;
        self.state.store(Arc::new(state));
        self.published.send_replace(revision);
    }
}

// === impl Location ===

impl Location {
    fn path(&self) -> PathBuf {
        match self {
            Self::File(directory) => directory.clone(),
            Self::Memory => "memory:".into(),
        }
    }
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            min_ttl: Duration::from_secs(2),
            on_failure: Arc::new(|message| {
                tracing::error!("{message}; what the disk has is uncertain, so this process ends");
                std::process::exit(EXIT_INTERNAL);
            }),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("min_ttl", &self.min_ttl)
            .finish_non_exhaustive()
    }
}

/// Ends leases whose time is over, until the store is dropped.
async fn expire(shared: Arc<Shared>, queue: mpsc::Sender<Request>) {
    loop {
        for id in shared.deadlines.expired(shared.clock.as_ref()).await {
            let (answer, _) = oneshot::channel();
            if queue.send(Request::Expire(id, answer)).await.is_err() {
                return;
            }
        }
    }
}

fn closed() -> Error {
    Error::Unavailable {
        message: "the store is closed".into(),
        outcome: Outcome::NotDone,
    }
}
