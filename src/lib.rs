//! Stanchion.
pub mod app;
pub mod cache;
pub mod clock;
pub mod domain;
pub mod metrics;
pub mod operations_http;
pub mod proto;
pub mod rpc;
pub mod serve;
pub mod settings;
pub mod store;
pub mod telemetry;
