//! HTTP/2 on h2 itself: what a connection is made of, whichever side of it is ours.
//!
//! Clients are served over it, and etcd is asked over it. A server or a client on top of h2 would
//! bring a task and a system call for each part of a call, which together cost more than all the
//! rest of it.

mod acks;
mod incoming;
mod outgoing;
mod pings;
mod sending;

pub(crate) use self::{
    acks::Acks,
    incoming::Incoming,
    outgoing::{Outgoing, Sender},
    pings::Pings,
    sending::Sending,
};

/// The length of a frame's header.
pub(crate) const FRAME_HEADER: usize = 9;
