//! Stanchion.
pub mod cache;
pub mod clock;
pub mod proto;
pub mod store;
