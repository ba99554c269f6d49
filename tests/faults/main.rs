//! The fault tests: real clusters, real replicas, real faults, and a witness that knows what
//! happened.
//!
//! | module | what for |
//! |---|---|
//! | `harness` | the world: members, replicas, the links between them, and what can go wrong with each |
//! | `load` | what clients do all the while, and what came of it |
//! | `witness` | what etcd did, from watches of its members with no fault on the way |
//! | `recorder` | what watchers of the service saw, message by message |
//! | `checker` | whether they saw what happened |
//! | `watched` | all three of a cluster and its watchers |
//! | `lock_history`, `config_history` | whether locks and configs kept what they promise; `history_program` says it of records |
//! | `scenarios` | one fault each, and what clients may see of it |
//!
//! Every scenario is random in its details and prints its seed and what it did when it fails;
//! `STANCHION_SEED` does the same again. Scenarios run one at a time, because their bounds are
//! times.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    missing_docs,
    unreachable_pub
)]

mod checker;
mod config_history;
mod harness;
mod load;
mod lock_history;
mod recorder;
mod scenarios;
#[path = "../it/support/mod.rs"]
// Shared with the other test binary, which uses more of it.
#[allow(dead_code, unused_imports, unused_macros)]
mod support;
mod view;
mod watched;
mod witness;
