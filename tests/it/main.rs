//! The integration tests: one binary, one module per surface.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    unreachable_pub
)]

mod etcd_adapter;
mod generated;
mod store_contract;
mod support;
