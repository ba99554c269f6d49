//! Where a stream finds what it is told.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;

use crate::domain::session::loss::Loss;

/// How many losses may wait for a stream to take them. A stream has to read faster than its
/// sessions lose things; what follows from a loss of data is still far below this.
pub(super) const MAX_WAITING: usize = 16 * 1024;

/// Where a stream finds what it is told. Nearly always empty, and looked into at every heartbeat:
/// then it costs one load.
#[derive(Default)]
pub(super) struct Mailbox {
    /// There is something in it.
    filled: AtomicBool,
    mail: Mutex<Mail>,
    reader: AtomicWaker,
}

#[derive(Default)]
struct Mail {
    losses: VecDeque<Arc<Loss>>,
    /// The stream did not read: it has missed what came after these.
    missed: bool,
    draining: bool,
}

/// What a stream is told.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::domain::session) enum Notice {
    /// Something is lost.
    Lost(Arc<Loss>),
    /// The stream did not read what it was told, and is told no more.
    Missed,
    /// The stream has to end.
    Draining,
}

// === impl Mailbox ===

impl Mailbox {
    /// Puts a loss in, unless the stream has missed one already.
    pub(super) fn put(&self, loss: &Arc<Loss>) {
        let mut mail = self.mail();
        if mail.losses.len() >= MAX_WAITING {
            mail.missed = true;
        }
        if !mail.missed {
            mail.losses.push_back(loss.clone());
        }
        self.fill(mail);
    }

    /// Tells the stream to end.
    pub(super) fn drain(&self) {
        let mut mail = self.mail();
        mail.draining = true;
        self.fill(mail);
    }

    fn fill(&self, mail: MutexGuard<'_, Mail>) {
        self.filled.store(true, Ordering::Release);
        drop(mail);
        self.reader.wake();
    }

    /// Takes the next notice. What ends the stream comes after all that it lost before.
    pub(super) fn poll_take(&self, context: &mut Context<'_>) -> Poll<Notice> {
        if let Some(notice) = self.take() {
            return Poll::Ready(notice);
        }
        self.reader.register(context.waker());
        // Something may have come just before.
        self.take().map_or(Poll::Pending, Poll::Ready)
    }

    fn take(&self) -> Option<Notice> {
        if !self.filled.load(Ordering::Acquire) {
            return None;
        }
        let mut mail = self.mail();
        if let Some(loss) = mail.losses.pop_front() {
            return Some(Notice::Lost(loss));
        }
        if mail.missed {
            return Some(Notice::Missed);
        }
        if mail.draining {
            return Some(Notice::Draining);
        }
        self.filled.store(false, Ordering::Release);
        None
    }

    fn mail(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
