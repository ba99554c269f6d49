//! The registry: who serves what, where, and how they are.

mod instance;

pub use self::instance::{
    Health, Instance, InstanceRecord, InstanceSpec, OperatorState, Port, Service,
};
