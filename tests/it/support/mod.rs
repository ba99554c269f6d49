//! What the tests share.

pub mod etcd;
pub mod store;
