//! Stanchion.
pub mod cache;
pub mod clock;
pub mod store;
