//! Locks: queues in the store, ownership decided by who came first.

mod queue;

pub use self::queue::{LockMode, LockQueue, Waiter};
