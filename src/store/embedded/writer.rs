//! The one writer: a thread that takes what waits in the queue, stages it, makes it durable with
//! one sync, shows it, and answers. In this order: nobody sees or is told what could be lost.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};

use super::{
    OnFailure, Shared,
    journal::Journal,
    state::{Change, State},
    txn,
};
use crate::store::{Error, LeaseId, Revision, Txn, TxnResponse};

/// How many requests share a commit: where more of them no longer raise the throughput of redb.
const GROUP: usize = 64;

/// How many requests wait before callers do.
pub(super) const QUEUE: usize = 256;

/// How many compacted revisions are freed between two commits, which wait for it.
const SWEEP: usize = 1000;

/// Where an outcome goes. A caller that has gone is none of the writer's business.
pub(super) type Answer<T> = oneshot::Sender<Result<T, Error>>;

/// What the writer is asked for.
pub(super) enum Request {
    Txn(Txn, Answer<TxnResponse>),
    Grant(LeaseId, Duration, Answer<Duration>),
    Revoke(LeaseId, Answer<()>),
    /// Ends a lease whose deadline has passed, unless it was granted anew since.
    Expire(LeaseId, Answer<()>),
    Compact(Revision, Answer<()>),
    /// Ends the writer and frees the file.
    Close,
}

/// Its fields go in this order: when the queue is gone, the file is free.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    /// `None`: memory alone.
    pub(super) journal: Option<Journal>,
    pub(super) queue: mpsc::Receiver<Request>,
    pub(super) on_failure: OnFailure,
}

/// Requests that are staged and not yet durable.
struct Batch {
    state: State,
    /// Leases that came or went.
    leases: BTreeSet<LeaseId>,
    /// What is said once the batch is durable; dropped unsaid if it is not.
    answers: Vec<Box<dyn FnOnce()>>,
    close: bool,
}

// === impl Writer ===

impl Writer {
    /// Works until the store is closed or dropped, or the journal fails.
    pub(super) fn run(mut self) {
        let mut requests = Vec::with_capacity(GROUP);
        let mut garbage = false;
        loop {
            if garbage && self.queue.is_empty() && !self.queue.is_closed() {
                garbage = self.sweep();
                continue;
            }
            if self.queue.blocking_recv_many(&mut requests, GROUP) == 0 {
                break;
            }
            let mut batch = Batch::new(State::clone(&self.shared.state.load()));
            for request in requests.drain(..) {
                batch.stage(request, &self.shared);
            }
            if let Err(error) = self.commit(&mut batch) {
                self.fail(&format!("the store could not be written: {error}"));
                return;
            }
            garbage = self.publish(batch.state, &batch.leases);
            for answer in batch.answers {
                answer();
            }
            if batch.close {
                self.shared.closed.cancel();
                return;
            }
        }
    }

    fn commit(&self, batch: &mut Batch) -> Result<(), redb::Error> {
        let before = self.shared.state.load().revision;
        let changed = batch.state.revision != before || !batch.leases.is_empty();
        match &self.journal {
            Some(journal) if changed => {
                journal.write(&batch.state, before, batch.leases.iter().copied())
            }
            _ => Ok(()),
        }
    }

    /// Shows a durable state. Returns true if there is garbage left in it.
    fn publish(&self, mut state: State, leases: &BTreeSet<LeaseId>) -> bool {
        let garbage = state.sweep(SWEEP);
        // A lease may be renewed when it is seen here, and no longer when it is not: before what
        // follows from it shows.
        let now = self.shared.clock.now();
        for id in leases {
            match state.lease(*id) {
                Some(ttl) => self.shared.deadlines.start(*id, ttl, now),
                None => self.shared.deadlines.end(*id),
            }
        }
        self.shared.publish(state);
        garbage
    }

    fn sweep(&self) -> bool {
        let mut state = State::clone(&self.shared.state.load());
        let garbage = state.sweep(SWEEP);
        self.shared.publish(state);
        garbage
    }

    fn fail(&self, message: &str) {
        self.shared.closed.cancel();
        (self.on_failure)(message);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // A panic here is a bug that would leave a store that answers nothing.
        if std::thread::panicking() {
            self.fail("the store's writer panicked");
        }
    }
}

// === impl Batch ===

impl Batch {
    fn new(state: State) -> Self {
        Self {
            state,
            leases: BTreeSet::new(),
            answers: Vec::with_capacity(GROUP),
            close: false,
        }
    }

    fn stage(&mut self, request: Request, shared: &Shared) {
        if self.close {
            // Dropping the request says that the store is closed.
            return;
        }
        match request {
            Request::Txn(request, answer) => {
                let response = txn::apply(&mut self.state, &request);
                self.answer(answer, response);
            }
            Request::Grant(id, ttl, answer) => {
                let granted = self.state.lease(id).unwrap_or_else(|| {
                    self.state.add_lease(id, ttl);
                    self.leases.insert(id);
                    ttl
                });
                self.answer(answer, Ok(granted));
            }
            Request::Revoke(id, answer) => {
                self.end_lease(id);
                self.answer(answer, Ok(()));
            }
            Request::Expire(id, answer) => {
                // One with a deadline, or touched in this batch, is a new lease of that id.
                if !self.leases.contains(&id) && !shared.deadlines.contains(id) {
                    self.end_lease(id);
                }
                self.answer(answer, Ok(()));
            }
            Request::Compact(revision, answer) => {
                let outcome = self.state.compact(revision);
                self.answer(answer, outcome);
            }
            Request::Close => self.close = true,
        }
    }

    fn end_lease(&mut self, id: LeaseId) {
        let mut change = Change::new(&mut self.state);
        if change.end_lease(id) {
            self.leases.insert(id);
        }
        change.finish();
    }

    fn answer<T: 'static>(&mut self, answer: Answer<T>, outcome: Result<T, Error>) {
        self.answers.push(Box::new(move || {
            let _ = answer.send(outcome);
        }));
    }
}
