//! What happened to locks and elections, and to the counters that their holders keep.

/// Microseconds since the history began. All times of a history are of one clock.
pub type Micros = u64;

/// What a history is made of. What the store did comes in its order; what clients were told in any,
/// except that what one client heard of one request comes in the order in which it heard it.
///
/// What is optional is missing in histories from before it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The store has a new claim on a lock, which delays the next one for so long if it dies.
    Queued {
        revision: i64,
        lock: String,
        token: i64,
        mode: Mode,
        delay: Option<Micros>,
    },
    /// It has it no longer.
    Left {
        revision: i64,
        lock: String,
        token: i64,
        went: Option<Went>,
    },
    /// It has no longer what stood beside a claim to delay the next one.
    Over {
        revision: i64,
        lock: String,
        token: i64,
        at: Micros,
    },
    /// It has a new version of a lock's counter, written by an operation.
    Counted {
        revision: i64,
        lock: String,
        version: i64,
        count: i64,
        token: i64,
        operation: u64,
    },
    /// A client was told, as of a revision, that it holds a lock.
    Granted {
        client: usize,
        lock: String,
        token: i64,
        revision: i64,
    },
    /// A client was told that it released a lock, and whether it was this that freed it.
    Released {
        client: usize,
        lock: String,
        token: i64,
        freed: Option<bool>,
    },
    /// A stream of a client, one of those of a request, said something, or the client did something
    /// to it.
    Heard {
        client: usize,
        lock: String,
        request: u64,
        stream: u32,
        at: Micros,
        news: News,
    },
    /// A client believed to hold a lock, from when it was told until it could not be certain any
    /// more.
    Believed {
        client: usize,
        lock: String,
        token: i64,
        from: Micros,
        to: Micros,
    },
    /// A client tried to count under a lock. With one it knew that it holds no longer, it is stale.
    Increment {
        client: usize,
        lock: String,
        token: i64,
        operation: u64,
        stale: bool,
        outcome: Outcome,
    },
}

/// How a lock is claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// For oneself.
    Exclusive,
    /// Together with others that share it.
    Shared,
    /// So many of so many permits.
    Permits { count: u32, total: u32 },
}

/// What a client was told of an increment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It made this version.
    Accepted(i64),
    Refused,
    Unknown,
}

/// When a claim went, as the store's members first told, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Went {
    pub at: Micros,
    /// Whether its session went at the same moment.
    pub with_session: bool,
}

/// What a stream says that holds a lock, and what is done to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The client calls.
    Opens,
    /// The claim waits, in this place of so many, as of a revision.
    Queued {
        token: i64,
        position: usize,
        waiting: usize,
        revision: i64,
    },
    /// It holds the lock, as of a revision. Its session surely lives so long, counted from the call.
    Acquired {
        token: i64,
        revision: i64,
        valid_for: Option<Micros>,
    },
    /// It holds the lock, and so many wait, as of a revision.
    Contended { waiting: usize, revision: i64 },
    /// It does not hold the lock any more, as of a revision.
    Lost {
        token: i64,
        revision: i64,
        cause: Cause,
    },
    /// The client is about to break the link. The claim is to be kept so long at least.
    Breaks { keep: Micros },
    /// The client is about to end the stream.
    Drops,
    /// The client is about to end the claim by a call of its own.
    Releases,
    /// The stream ended with an error, or the call did.
    Fails,
    /// The stream ended well.
    Ends,
}

/// Why a claim was lost, as a stream says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    Session,
    Removed,
    Other,
}
