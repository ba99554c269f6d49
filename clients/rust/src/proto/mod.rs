//! Messages and client stubs of `stanchion.v1`, generated from `proto/`.
//!
//! The comments are those of the protos: they are the reference manual of the API.

#![allow(missing_docs, unreachable_pub, clippy::all)]

include!("stanchion.v1.rs");
