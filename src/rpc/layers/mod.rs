//! What happens to every call, outermost first.
//!
//! 1. `observe`: one span, one count and one log line per call, so that it sees what every other
//!    layer answers.
//! 2. `errors`: whatever goes wrong further in, panics included, becomes a status of the table.
//! 3. `deadline`: ends calls in time; innermost, so that what it ends is told and counted.

mod call_metrics;
mod deadline;
mod errors;
mod method;
mod observe;
mod throttle;

use http::{HeaderMap, HeaderName};

pub(super) use self::errors::trailers;
pub use self::{
    call_metrics::CallMetrics, deadline::DeadlineLayer, errors::ErrorsLayer, observe::ObserveLayer,
};

/// Where a call's code stands.
static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// Where the details of an error stand.
static GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// The code of a call that went well, as most do.
const OK: &str = "0";

/// Says whether headers or trailers tell of a call that went well.
fn is_ok(headers: &HeaderMap) -> bool {
    headers.get(&GRPC_STATUS).is_some_and(|code| code == OK)
}
