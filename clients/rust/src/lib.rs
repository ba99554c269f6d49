//! Client of the Stanchion service.

pub mod proto;
