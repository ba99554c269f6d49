//! What is counted.
//!
//! A case does its work for a number of rounds; what of a round counts is inside of
//! [`Round::count`], the rest prepares it.

mod lists;
mod watches;

use stanchion_client::proto::{ListInstancesRequest, WatchInstancesRequest};
use tokio::runtime;

use crate::{
    error::CountError,
    instances,
    measured::measured,
    replica::{LOG_REVISIONS, Replica},
};

/// Something of which the instructions are counted.
pub(crate) struct Case {
    /// How it is called.
    pub(crate) name: &'static str,
    /// What one operation is.
    pub(crate) operation: &'static str,
    /// Does the work, and says how many operations were counted.
    run: fn(&mut Replica<'_>) -> Result<u64, CountError>,
}

/// All cases.
pub(crate) const ALL: &[Case] = &[
    Case {
        name: "publish",
        operation: "a revision is applied and published, and 100 waiting watches are woken",
        run: watches::publish,
    },
    Case {
        name: "encode",
        operation: "the first watch that looks makes of it what is sent to all",
        run: watches::encode,
    },
    Case {
        name: "cursor-drain",
        operation: "another cursor takes it, and waits again",
        run: watches::cursor_drain,
    },
    Case {
        name: "stream-drain",
        operation: "another watch sends it, and waits again",
        run: watches::stream_drain,
    },
    Case {
        name: "watch-open",
        operation: "a watch is opened",
        run: watches::open,
    },
    Case {
        name: "snapshot-first",
        operation: "100 instances are told to the first new watch after a change",
        run: watches::snapshot_first,
    },
    Case {
        name: "snapshot-shared",
        operation: "100 instances are told to the next new watch",
        run: watches::snapshot_shared,
    },
    Case {
        name: "list-first",
        operation: "100 instances are listed for the first time after a change",
        run: lists::first,
    },
    Case {
        name: "list-cached",
        operation: "100 instances are listed again",
        run: lists::cached,
    },
    Case {
        name: "list-one",
        operation: "the one instance of a service is listed again",
        run: lists::one,
    },
];

/// Rounds that do not count: enough that the log of changes is full.
const WARM_UP: usize = LOG_REVISIONS + 44;

/// One time through the work of a case.
#[derive(Clone, Copy)]
struct Round {
    counts: bool,
}

/// Does the work of the case with this name. Says how many operations it counted.
pub(crate) fn run(name: &str) -> Result<u64, CountError> {
    let case = ALL
        .iter()
        .find(|case| case.name == name)
        .ok_or_else(|| CountError::NoCase(name.to_owned()))?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|source| CountError::io("cannot start a runtime", source))?;
    // Bodies are read outside of its tasks.
    let _entered = runtime.enter();
    (case.run)(&mut Replica::start(&runtime)?)
}

/// The warm-up, and `counted` more.
fn rounds(counted: usize) -> impl Iterator<Item = Round> {
    (0..WARM_UP + counted).map(|number| Round {
        counts: number >= WARM_UP,
    })
}

// === impl Round ===

impl Round {
    /// Does work that counts.
    fn count<T>(self, work: impl FnOnce() -> T) -> Option<T> {
        let (mut work, mut done) = (Some(work), None);
        let mut once = || done = work.take().map(|work| work());
        if self.counts {
            measured(&mut once);
        } else {
            once();
        }
        done
    }

    /// How many of so many operations count.
    fn operations(self, done: u64) -> u64 {
        if self.counts { done } else { 0 }
    }
}

fn watch_request() -> WatchInstancesRequest {
    WatchInstancesRequest {
        namespace: instances::NAMESPACE.into(),
        service: instances::LARGE_SERVICE.into(),
        ..WatchInstancesRequest::default()
    }
}

fn list_request(service: &str) -> ListInstancesRequest {
    ListInstancesRequest {
        namespace: instances::NAMESPACE.into(),
        service: service.into(),
        ..ListInstancesRequest::default()
    }
}
