//! Replicas that die, hang or are drained, under clients that may use any of them.

mod draining;
mod dying;
mod links;
mod storm;

use crate::{harness::Scenario, load::Selections};

/// Three replicas, and clients to whom one of them is as good as another.
fn replicas(name: &'static str) -> Scenario {
    let mut plan = Scenario {
        replicas: 3,
        ..Scenario::new(name)
    };
    // Who is bound to a replica notices, who is not does not.
    plan.expect.reads_go_on = false;
    plan.expect.calls_succeed = true;
    plan
}

/// The same for long: who reads slowly must be able to follow.
fn replicas_for_long(name: &'static str) -> Scenario {
    Scenario {
        watched: Selections {
            configs: "load/writer-0-",
            ..Selections::default()
        },
        ..replicas(name)
    }
}
