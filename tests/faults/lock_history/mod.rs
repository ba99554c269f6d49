//! Whether locks kept what they promise: a history of what the store did and what clients were
//! told, and a checker of it.

mod check;
#[cfg(test)]
mod doctored;
mod history;
mod queue;

pub use self::{
    check::check,
    history::{Event, Mode, Outcome},
};
