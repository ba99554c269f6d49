//! The integration tests: one binary, one module per surface.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod store_contract;
mod support;
