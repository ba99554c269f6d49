//! Whether configs kept what they promise: a history of what the store did, what clients were told,
//! what watchers were shown and what the service says afterwards, and a checker of it.

mod afterwards;
mod answers;
mod check;
#[cfg(test)]
mod doctored;
mod history;
mod text;
mod watchers;

pub use self::{
    check::check,
    history::{Change, Deed, Event, How, Outcome, Version},
};
