//! The integration tests: one binary, one module per surface.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    unreachable_pub
)]

mod architecture;
mod audit;
mod barrier;
mod checks;
mod cli;
mod client;
mod config;
mod election;
mod embedded_durability;
mod embedded_store;
mod etcd_access;
mod etcd_adapter;
mod full_store;
mod generated;
mod latch;
mod lifecycle;
mod limits;
mod lock;
mod operator;
mod registry;
mod server;
mod session;
mod store_contract;
mod store_differential;
// Shared with the other test binary, which uses more of it.
#[allow(dead_code)]
mod support;
mod telemetry;
