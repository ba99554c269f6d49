//! Pings, by which a connection finds out that the other side is gone.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep};

/// The pings of one connection.
pub(crate) struct Pings {
    /// None if the connection has none to give.
    pings: Option<PingPong>,
    interval: Duration,
    timeout: Duration,
    /// One is on its way.
    asked: bool,
    /// When the next is sent, or the answer is late.
    due: Pin<Box<Sleep>>,
}

// === impl Pings ===

impl Pings {
    /// The first is sent after `interval`, and each is answered within `timeout`.
    pub(crate) fn new(pings: Option<PingPong>, interval: Duration, timeout: Duration) -> Self {
        Self {
            pings,
            interval,
            timeout,
            asked: false,
            due: Box::pin(sleep(interval)),
        }
    }

    /// Sends pings, while it is `used`; ready when one was not answered in time.
    pub(crate) fn poll_silence(&mut self, context: &mut Context<'_>, used: bool) -> Poll<()> {
        let Some(pings) = &mut self.pings else {
            return Poll::Pending;
        };
        // One that fails belongs to a connection that ends without it.
        if self.asked && pings.poll_pong(context).is_ready() {
            self.asked = false;
            self.due.as_mut().reset(Instant::now() + self.interval);
        }
        loop {
            ready!(self.due.as_mut().poll(context));
            if self.asked {
                return Poll::Ready(());
            }
            if !used {
                self.due.as_mut().reset(Instant::now() + self.interval);
                continue;
            }
            if pings.send_ping(Ping::opaque()).is_err() {
                return Poll::Pending;
            }
            self.asked = true;
            self.due.as_mut().reset(Instant::now() + self.timeout);
        }
    }
}
