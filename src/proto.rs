//! Generated code: the server side of the public API, and the stored records.
//!
//! The messages of the public API are in `stanchion_client::proto`.

/// Server traits of `stanchion.v1`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod server {
    include!(concat!(env!("OUT_DIR"), "/stanchion.v1.rs"));
}

/// Stored records, `stanchion.store.v1`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod store {
    include!(concat!(env!("OUT_DIR"), "/stanchion.store.v1.rs"));
}

/// Descriptors of the public API and what it imports, with comments, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/descriptor_set.bin"));
