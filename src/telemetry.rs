//! Logs for an operator, traces for whoever asks where the time went.

use std::{fmt, io::IsTerminal, str::FromStr, time::Duration};

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

/// How long the last spans may take to leave at exit.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// What is told, and to whom.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Level, or filter directives. Default `info`.
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
    #[error("telemetry.log: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
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

// === impl Telemetry ===

impl Telemetry {
    /// Starts logs on standard error, and traces if they are to go somewhere. Needs a runtime.
    pub fn start(settings: &Settings) -> Result<Self, TelemetryError> {
        let filter = EnvFilter::try_new(&settings.log)?;
        let json = match settings.log_format {
            LogFormat::Text => false,
            LogFormat::Json => true,
            LogFormat::Auto => !std::io::stderr().is_terminal(),
        };
        let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        let log = if json {
            log.json()
                .flatten_event(true)
                .with_current_span(false)
                .boxed()
        } else {
            log.with_target(false).boxed()
        };
        let tracer = tracer(settings)?;
        let traces = tracer.as_ref().map(|provider| {
            tracing_opentelemetry::layer().with_tracer(provider.tracer("stanchion"))
        });
        tracing_subscriber::registry()
            .with(filter)
            .with(log)
            .with(traces)
            .try_init()?;
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

fn tracer(settings: &Settings) -> Result<Option<SdkTracerProvider>, TelemetryError> {
    if settings.otlp_endpoint.is_empty() {
        return Ok(None);
    }
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(&settings.otlp_endpoint)
        .build()?;
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(Resource::builder().with_service_name("stanchion").build())
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
