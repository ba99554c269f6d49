//! One fault each.

mod access;
mod clocks;
mod configs;
mod disks;
mod links;
mod locks;
mod members;
mod membership;
mod partitions;
#[cfg(feature = "planted-bugs")]
mod planted;
mod replicas;
mod silence;
mod site;
mod store;
mod witnessed;
