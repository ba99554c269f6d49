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

pub(super) use self::errors::trailers;
pub use self::{
    call_metrics::CallMetrics, deadline::DeadlineLayer, errors::ErrorsLayer, observe::ObserveLayer,
};
