//! Registering, changing and deregistering instances.
//!
//! Who may have an id is decided in `claim`, and made true by one transaction (`attempt`).

mod attempt;
mod backing;
mod claim;
mod deregister;
mod register;
mod room;
mod update;

pub use self::{
    backing::Support,
    deregister::{Deregistered, Deregistration},
    register::{Liveness, NewInstance, Registered, Terms},
    update::{InstancePatch, Update, Updated},
};
