//! What happens to every call, outermost first.
//!
//! 1. `observe`: one span, one count and one log line per call, so that it sees what every other
//!    layer answers.
//! 2. `deadline`: ends calls in time; innermost, so that what it ends is counted.

mod deadline;
mod method;
mod observe;

pub use self::{
    deadline::DeadlineLayer,
    observe::{CallMetrics, ObserveLayer},
};
