//! Whether locks kept what they promise: a history of what the store did and what clients were
//! told, and a checker of it. `program.rs` checks one from the command line.

mod check;
#[cfg(test)]
mod doctored;
mod history;

pub use self::{
    check::check,
    history::{Event, Outcome},
};
