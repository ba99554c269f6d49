//! Logs for an operator, traces for whoever asks where the time went.

use std::{fmt, io::IsTerminal, str::FromStr, time::Duration};

use opentelemetry::{
    KeyValue,
    trace::{TraceContextExt, TracerProvider},
};
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, ParseError, Targets, filter_fn},
    layer::{Filter, SubscriberExt},
    util::SubscriberInitExt,
};

/// How long the last spans may take to leave at exit.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// What is told, and to whom.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Level, or filter directives. Default `info`. Of logs alone: traces are always whole.
    pub log: String,
    /// How logs are written. Default `auto`.
    pub log_format: LogFormat,
    /// Where traces go over OTLP/gRPC; empty: nowhere, which is the default.
    pub otlp_endpoint: String,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Default)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines, one object a line.
    Json,
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
}

/// Running telemetry; flushes when it is shut down.
pub struct Telemetry {
    tracer: Option<SdkTracerProvider>,
}

/// Why telemetry does not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `telemetry.log` is not a filter.
    #[error("telemetry.log = {0:?}: {1}")]
    Filter(String, ParseError),
    /// `telemetry.otlp_endpoint` is not an address.
    #[error("telemetry.otlp_endpoint = {0:?}: must be http://host:port, or empty")]
    Endpoint(String),
    /// The exporter of traces cannot be built.
    #[error("telemetry.otlp_endpoint: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// Telemetry was started twice in this process.
    #[error(transparent)]
    Started(#[from] tracing_subscriber::util::TryInitError),
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            log: "info".into(),
            log_format: LogFormat::Auto,
            otlp_endpoint: String::new(),
        }
    }
}

impl Settings {
    /// Checks that telemetry could be started so.
    pub fn check(&self) -> Result<(), TelemetryError> {
        self.filter()?;
        let endpoint = &self.otlp_endpoint;
        let known = endpoint.parse::<http::Uri>().is_ok_and(|uri| {
            uri.scheme_str() == Some("http") && uri.host().is_some_and(|host| !host.is_empty())
        });
        if endpoint.is_empty() || known {
            Ok(())
        } else {
            Err(TelemetryError::Endpoint(endpoint.clone()))
        }
    }

    fn filter(&self) -> Result<EnvFilter, TelemetryError> {
        EnvFilter::try_new(&self.log)
            .map_err(|error| TelemetryError::Filter(self.log.clone(), error))
    }

    /// Says whether logs are for programs.
    pub fn is_json(&self) -> bool {
        match self.log_format {
            LogFormat::Text => false,
            LogFormat::Json => true,
            LogFormat::Auto => !std::io::stderr().is_terminal(),
        }
    }
}

// === impl Telemetry ===

impl Telemetry {
    /// Starts logs on standard error, and traces if they are to go somewhere. Needs a runtime.
    pub fn start(settings: &Settings) -> Result<Self, TelemetryError> {
        let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        let log = if settings.is_json() {
            log.json()
                .flatten_event(true)
                .with_current_span(false)
                .boxed()
        } else {
            log.with_target(false)
                .with_ansi(std::io::stderr().is_terminal())
                .boxed()
        };
        let tracer = tracer(settings)?;
        let traces = tracer.as_ref().map(|provider| {
            // Our own spans alone: the exporter's calls would make spans of their own for ever.
            let ours = Targets::new().with_target(env!("CARGO_CRATE_NAME"), LevelFilter::INFO);
            tracing_opentelemetry::layer()
                .with_tracer(provider.tracer(env!("CARGO_PKG_NAME")))
                .with_location(false)
                .with_threads(false)
                .with_filter(ours)
        });
        tracing_subscriber::registry()
            .with(log.with_filter(told(settings.filter()?, tracer.is_some())))
            .with(traces)
            .try_init()?;
        log_panics();
        Ok(Self { tracer })
    }

    /// Sends what is left.
    pub fn shutdown(self) {
        if let Some(tracer) = self.tracer
            && let Err(error) = tracer.shutdown_with_timeout(FLUSH_TIMEOUT)
        {
            tracing::warn!(%error, "the last traces may be lost");
        }
    }
}

/// What of `filter` is logged. A line says itself what it is about: where no traces are `collected`,
/// spans are spared.
fn told(filter: EnvFilter, collected: bool) -> impl Filter<Registry> {
    // Without the hint every library's finest events would be looked at, and thrown away.
    let wanted = filter_fn(move |metadata| collected || metadata.is_event());
    filter.and(wanted.with_max_level_hint(LevelFilter::TRACE))
}

/// The id of the trace that a span belongs to, for log lines; nothing where no trace is collected.
pub fn trace_id(span: &tracing::Span) -> Option<String> {
    use tracing_opentelemetry::OpenTelemetrySpanExt;

    let context = span.context();
    let id = context.span().span_context().trace_id();
    (id != opentelemetry::TraceId::INVALID).then(|| id.to_string())
}

/// A panic is a log line like any other fault of ours.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(error = %panic, "a task panicked");
    }));
}

fn tracer(settings: &Settings) -> Result<Option<SdkTracerProvider>, TelemetryError> {
    if settings.otlp_endpoint.is_empty() {
        return Ok(None);
    }
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(&settings.otlp_endpoint)
        .build()?;
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let resource = Resource::builder()
        .with_service_name(env!("CARGO_PKG_NAME"))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .build();
    Ok(Some(provider))
}

// === impl LogFormat ===

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            "auto" => Ok(Self::Auto),
            _ => Err("is none of text, json, auto"),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Auto => "auto",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_finer_than_what_is_logged_are_not_even_looked_at() {
        for (log, level) in [("info", LevelFilter::INFO), ("debug", LevelFilter::DEBUG)] {
            for collected in [false, true] {
                let told = told(EnvFilter::new(log), collected);
                assert_eq!(told.max_level_hint(), Some(level), "{log}");
            }
        }
    }

    #[test]
    fn what_cannot_work_is_refused_before_it_starts() {
        let check = |log: &str, otlp_endpoint: &str| {
            let settings = Settings {
                log: log.into(),
                otlp_endpoint: otlp_endpoint.into(),
                ..Settings::default()
            };
            settings.check().map_err(|error| error.to_string())
        };
        check("info,stanchion::cache=debug", "http://127.0.0.1:4317").unwrap();
        check("off", "").unwrap();
        let error = check("info,x=louder", "").unwrap_err();
        assert!(error.contains("telemetry.log"), "{error}");
        for endpoint in ["localhost", "127.0.0.1:4317", "https://x:1", "http://"] {
            let error = check("info", endpoint).unwrap_err();
            assert!(error.contains("telemetry.otlp_endpoint"), "{error}");
        }
    }
}
