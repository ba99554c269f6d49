//! Durations as they are on the wire.

use std::time::Duration;

/// A duration for a request. What is beyond the wire's range is its maximum.
pub(crate) fn to_wire(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: duration.subsec_nanos() as i32,
    }
}

/// A duration out of an answer. A negative one is zero.
pub(crate) fn from_wire(duration: prost_types::Duration) -> Duration {
    duration.try_into().unwrap_or_default()
}
