//! What the tests share.

pub mod door;
pub mod etcd;
pub mod etcd_binary;
pub mod overlay;
pub mod pki;
pub mod process;
pub mod raw;
pub mod scrape;
pub mod server;
pub mod store;
pub mod traffic;
