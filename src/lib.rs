//! Stanchion.
pub mod cache;
pub mod clock;
pub mod domain;
pub mod proto;
pub mod store;
