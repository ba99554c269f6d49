//! Who changed what: an entry for each deed, written in the deed's own transaction.
//!
//! The entries of one transaction are there exactly if it happened, so that nothing is changed
//! without one and nothing that failed has one.

mod entry;

pub use self::entry::{ANONYMOUS, AuditEntry, AuditOperation, Caller};
