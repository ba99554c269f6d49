//! The header of every answer.

use std::{sync::Arc, time::Duration};

use stanchion_client::proto::ResponseHeader;

use crate::{
    domain::{Core, state::View},
    rpc::convert::wire_duration,
    store::Revision,
};

/// Writes headers for one replica.
#[derive(Clone)]
pub struct Header(Arc<Core>);

// === impl Header ===

impl Header {
    /// Headers of the replica that `core` is.
    pub fn new(core: Arc<Core>) -> Self {
        Self(core)
    }

    /// The header of a read.
    pub fn of(&self, view: &View) -> ResponseHeader {
        self.build(view.state.epoch.name(), view.revision, view.age)
    }

    /// The header of an answer that shows nothing of the state: where this replica is.
    pub fn now(&self) -> ResponseHeader {
        match self.0.cache.view() {
            Ok(view) => self.of(&view),
            Err(_) => self.build(String::new(), 0, Duration::ZERO),
        }
    }

    /// The header of a mutation that made `revision`, or found the state at it.
    pub fn at(&self, revision: Revision) -> ResponseHeader {
        self.build(self.epoch(), revision, Duration::ZERO)
    }

    /// The present epoch; empty before the store was read.
    pub fn epoch(&self) -> String {
        let view = self.0.cache.view();
        view.map_or(String::new(), |view| view.state.epoch.name())
    }

    fn build(&self, epoch: String, revision: Revision, age: Duration) -> ResponseHeader {
        ResponseHeader {
            revision,
            epoch,
            replica: self.0.replica.as_str().to_owned(),
            age: Some(wire_duration(age)),
        }
    }
}
