//! Removal of instances that nobody deregistered: those whose session is gone (`suspects`), and
//! those that stay unhealthy.

mod brakes;
pub(super) mod departure;
mod interruptions;
pub(super) mod queue;
mod suspects;
mod tombstone;
mod unhealthy;

pub use self::{
    departure::Removals,
    suspects::Removal,
    tombstone::{RemovalCause, Tombstone},
    unhealthy::UnhealthyRemoval,
};
