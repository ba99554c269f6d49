//! What something looks like on the wire, kept beside it.

use std::sync::OnceLock;

use bytes::Bytes;

/// A place where bytes are kept once they were made. Whoever makes them decides on the form, which
/// must be the same for all who come to the same place.
///
/// It is no part of the thing it belongs to: all are equal, and a copy, which may be changed, begins
/// without.
#[derive(Debug, Default)]
pub struct WireForm(OnceLock<Bytes>);

// === impl WireForm ===

impl WireForm {
    /// The bytes, made now if they are not there yet.
    pub fn get_or_make(&self, make: impl FnOnce() -> Bytes) -> Bytes {
        self.0.get_or_init(make).clone()
    }
}

impl Clone for WireForm {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for WireForm {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for WireForm {}
