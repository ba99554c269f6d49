//! Stanchion.
pub mod app;
pub mod cache;
pub mod clock;
pub mod domain;
pub mod proto;
pub mod rpc;
pub mod settings;
pub mod store;
