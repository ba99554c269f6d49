//! What the tests share.

pub mod etcd;
pub mod server;
pub mod store;
