//! The world a scenario plays in, and its faults.

mod access;
mod disk;
mod namespaces;
mod proxy;
mod replica;
mod report;
mod scenario;
mod stall;
mod tools;
mod wall_clock;
mod world;

pub use self::{
    access::Tokens,
    disk::SlowDisk,
    proxy::{Flow, Proxy},
    report::{Figures, directory},
    scenario::{Scenario, alone, scenario, turn},
    wall_clock::WallClock,
    world::World,
};
