//! `health`: reports of health; and why instances are as they are, for `instances -o wide`.

use std::{collections::BTreeMap, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use futures_util::{StreamExt, TryStreamExt, stream};
use stanchion_client::{
    Client, Code,
    proto::{
        GetInstanceResponse, Health as WireHealth, HealthFinding, Instance, health_finding::Source,
    },
};

use super::{
    Outcome,
    connection::{self, Connection},
    exit::Exit,
    failure::Failure,
    instances,
    output::{self, Table},
    parse,
};

/// How many instances are asked for at once.
const CONCURRENT: usize = 16;

/// Report how an instance is
#[derive(Debug, Subcommand)]
pub(crate) enum Health {
    Report(Report),
}

/// Say that an instance works, or does not
///
/// One more source of its health besides its session and its checks: the worst of them counts.
/// A report counts for a time; another one of the same reporter replaces it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  stanchion health report web/1 unhealthy --reason 'slow disk' --for 5m\n  \
                        stanchion health report web/1 healthy"
)]
pub(crate) struct Report {
    /// The instance, as SERVICE/ID
    #[arg(value_parser = parse::instance)]
    instance: (String, String),

    /// How it is
    health: Said,

    /// Why
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,

    /// How long the report counts, 1s to 1h
    #[arg(long = "for", value_parser = parse::duration, value_name = "DURATION", default_value = "1m")]
    ttl: Duration,

    /// Who reports [default: user@host]
    #[arg(long, value_name = "NAME")]
    reporter: Option<String>,

    #[command(flatten)]
    pub(super) connection: Connection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Said {
    Healthy,
    Unhealthy,
}

// === impl Health ===

impl Health {
    pub(super) async fn run(self) -> Outcome {
        match self {
            Self::Report(report) => report.run().await,
        }
    }

    pub(super) fn connection(&self) -> &Connection {
        match self {
            Self::Report(report) => &report.connection,
        }
    }
}

// === impl Report ===

impl Report {
    async fn run(self) -> Outcome {
        let (service, id) = &self.instance;
        let client = self.connection.client()?;
        let mut report = client.report_health(service, id);
        if self.health == Said::Unhealthy {
            report = report.unhealthy(&self.reason);
        }
        let reporter = self.reporter.clone().unwrap_or_else(connection::actor);
        let instance = report.by(reporter, self.ttl).send().await?;
        if self.connection.is_json() {
            output::json(&instances::to_json(&instance))?;
        } else {
            let health = output::lower(instance.health().as_str_name(), "HEALTH_");
            output::line(&format!("{service}/{id} is {health}"))?;
        }
        Ok(Exit::Ok)
    }
}

/// Prints instances with why they are as they are.
pub(super) fn print(
    instances: &[Instance],
    reasons: &BTreeMap<String, String>,
    nothing: &str,
) -> Result<(), Failure> {
    let mut table = Table::new(["ID", "ADDRESS", "PORTS", "HEALTH", "REASON", "REVISION"]);
    for instance in instances {
        let reason = reasons.get(&instance.instance_id);
        table.row([
            instance.instance_id.clone(),
            instance.address.clone(),
            instances::ports(&instance.ports),
            instances::state(instance),
            reason.cloned().unwrap_or_default(),
            instance.revision.to_string(),
        ]);
    }
    table.print(nothing)
}

/// Why each instance that is not healthy is so, by id, in the words of its worst source.
pub(super) async fn reasons(
    client: &Client,
    instances: &[Instance],
) -> Result<BTreeMap<String, String>, Failure> {
    let ill = instances
        .iter()
        .filter(|i| i.health() == WireHealth::Unhealthy);
    let asked = ill.map(|instance| async move {
        let id = &instance.instance_id;
        match client.instance(&instance.service, id).await {
            Ok(found) => Ok((id.clone(), reason(&found))),
            // It went meanwhile.
            Err(error) if error.code() == Code::NotFound => Ok((id.clone(), String::new())),
            Err(error) => Err(error),
        }
    });
    // Names the futures' type, without which their lifetimes are not general enough.
    let asked: Vec<_> = asked.collect();
    let answers = stream::iter(asked).buffer_unordered(CONCURRENT);
    Ok(answers.try_collect().await?)
}

/// The first source that objects, and why; or what else speaks against the instance.
fn reason(found: &GetInstanceResponse) -> String {
    let objects = |finding: &&HealthFinding| finding.health() == WireHealth::Unhealthy;
    let held = found
        .damping
        .as_ref()
        .is_some_and(|damping| damping.held_until.is_some());
    match found.findings.iter().find(objects) {
        Some(finding) => format!("{}: {}", source(finding), finding.detail),
        None if held => "held back: its health changed too often".into(),
        None => "not checked yet".into(),
    }
}

fn source(finding: &HealthFinding) -> &str {
    match &finding.source {
        Some(Source::Check(name)) => name,
        Some(Source::Reporter(name)) if name.is_empty() => "itself",
        Some(Source::Reporter(name)) => name,
        None => "unknown",
    }
}
