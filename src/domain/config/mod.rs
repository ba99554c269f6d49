//! Configuration: items whose every change is a version.

mod item;

pub use self::item::{ConfigHead, ConfigVersion, ContentType, Operation, RequestRecord};
