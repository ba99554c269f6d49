//! A client of HTTP/2 that costs as little as it can, because a generator dearer than its target
//! measures itself: frames made by hand, nothing decoded but what has to be, one task and no lock
//! per connection, one read buffer for all of them.
//!
//! It knows what gRPC servers do and no more: no push, no priorities, no header compression. What
//! it cannot do, tell a call's status in words, [`crate::wire`] can: try a request there first.

mod call;
mod connection;
mod frame;
mod inbound;

pub(crate) use call::{Call, Requests};
pub(crate) use connection::{Connection, Windows};
pub(crate) use inbound::{End, Event};
