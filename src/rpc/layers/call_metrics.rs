//! Counts of calls, by method and code.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use tonic::Code;

use super::method::{self, Method};

/// Upper bounds of the latency histogram, in seconds: a cached read takes some 0.1 ms, a write a
/// few, anything above a second is trouble.
const LATENCIES: [f64; 12] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0,
];

/// How many codes there are.
const CODES: usize = 17;

/// Counts of calls. Methods that nobody serves are one, `unknown`.
#[derive(Clone, Debug)]
pub struct CallMetrics {
    calls: Family<CallLabels, Counter>,
    latency: Family<MethodLabel, Histogram, fn() -> Histogram>,
    open: Family<MethodLabel, Gauge>,
    /// What was found in the families, which takes longer to find than to count.
    found: Arc<[Found]>,
}

/// What is counted of one method, from its first call on.
#[derive(Debug, Default)]
struct Found {
    calls: [OnceLock<Counter>; CODES],
    latency: OnceLock<Histogram>,
    open: OnceLock<Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabel {
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    method: &'static str,
    code: &'static str,
}

// === impl CallMetrics ===

impl CallMetrics {
    /// Counts that `registry` shows.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            calls: Family::default(),
            latency: Family::new_with_constructor(|| Histogram::new(LATENCIES)),
            open: Family::default(),
            found: (0..method::count()).map(|_| Found::default()).collect(),
        };
        registry.register(
            "rpc_calls",
            "Calls that ended, by method and status code",
            metrics.calls.clone(),
        );
        registry.register(
            "rpc_seconds",
            "How long calls took that answer at once, and how long streams took to open, by method",
            metrics.latency.clone(),
        );
        registry.register(
            "rpc_open_calls",
            "Calls that are open now, by method",
            metrics.open.clone(),
        );
        metrics
    }

    pub(super) fn began(&self, method: &'static Method) {
        self.open(method).inc();
    }

    pub(super) fn answered(&self, method: &'static Method, after: Duration) {
        let latency = self.found[method.index]
            .latency
            .get_or_init(|| self.latency.get_or_create(&MethodLabel::of(method)).clone());
        latency.observe(after.as_secs_f64());
    }

    pub(super) fn ended(&self, method: &'static Method, code: Code) {
        self.open(method).dec();
        let calls = self.found[method.index].calls[code as usize].get_or_init(|| {
            let labels = CallLabels {
                method: &method.name,
                code: code_name(code),
            };
            self.calls.get_or_create(&labels).clone()
        });
        calls.inc();
    }

    fn open(&self, method: &'static Method) -> &Gauge {
        self.found[method.index]
            .open
            .get_or_init(|| self.open.get_or_create(&MethodLabel::of(method)).clone())
    }
}

// === impl MethodLabel ===

impl MethodLabel {
    fn of(method: &'static Method) -> Self {
        Self {
            method: &method.name,
        }
    }
}

pub(super) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
