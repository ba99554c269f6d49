//! Looking into queues, and stepping in: who holds a lock since when, who waits for whom, whether a
//! token counts, asking a holder to yield, taking a lock by force.

mod check;
mod deadlocks;
mod force;
mod ledger;
mod yielding;

pub(super) use self::ledger::Ledger;
pub use self::{
    check::Checked,
    deadlocks::{Deadlock, Wait, deadlocks},
    force::{ForceRelease, Forced, ForcedRelease},
    ledger::Contention,
    yielding::{RequestYield, YieldRequest, Yielding},
};
