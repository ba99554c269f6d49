//! Whether locks kept what they promise: a history of what the store did and what clients were
//! told, and a checker of it.

mod beliefs;
mod check;
mod delays;
#[cfg(test)]
mod doctored;
mod history;
mod lines;
mod queue;
mod streams;

pub use self::{
    check::check,
    history::{Cause, Event, Micros, Mode, News, Outcome, Went},
};
