//! One fault each.

mod disks;
mod links;
mod members;
mod partitions;
mod replicas;
mod store;
