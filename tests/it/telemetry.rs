//! What an operator sees: metrics, logs, traces.

mod logs;
mod metrics;
mod traces;
