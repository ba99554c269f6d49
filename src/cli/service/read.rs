//! `service get`, `service delete`.

use clap::Args;
use serde_json::{Value, json};
use stanchion_client::proto::{Service, ServiceSettings};

use super::path;
use crate::cli::{
    Outcome,
    connection::Connection,
    exit::Exit,
    output::{self, Table},
    services, settings,
};

/// Show what was set for a service, and what its instances come to
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stanchion service get web -o json")]
pub(crate) struct Get {
    /// Name of the service
    service: String,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// Take back what was set for a service; its instances stay
///
/// Exits 3 if nothing was set.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stanchion service delete web")]
pub(crate) struct Delete {
    /// Name of the service
    service: String,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

// === impl Get ===

impl Get {
    pub(super) async fn run(self) -> Outcome {
        let operator = self.connection.client()?.operator();
        let found = operator.get_service(&self.service).await?;
        if self.connection.is_json() {
            output::json(&json!({
                "settings": found.settings.as_ref().map(settings_json),
                "service": found.service.as_ref().map(services::to_json),
            }))?;
            return Ok(Exit::Ok);
        }
        let mut table = Table::new(["WHAT", "IS"]);
        let counts = found.service.iter().flat_map(counts);
        let settings = found.settings.iter().flat_map(said);
        for (what, is) in counts.chain(settings) {
            table.row([what.to_owned(), is]);
        }
        table.print("nothing is set")?;
        Ok(Exit::Ok)
    }
}

// === impl Delete ===

impl Delete {
    pub(super) async fn run(self) -> Outcome {
        let operator = self.connection.client()?.operator();
        let deleted = operator.delete_service(&self.service).await?;
        settings::deleted(&self.connection, "service", &self.service, deleted)
    }
}

fn counts(service: &Service) -> Vec<(&'static str, String)> {
    vec![
        ("instances", service.instance_count.to_string()),
        ("serving", service.serving_count.to_string()),
        ("protected", service.protected.to_string()),
        ("braked", service.braked.to_string()),
    ]
}

/// The settings that differ from the defaults, and who set them.
fn said(settings: &ServiceSettings) -> Vec<(&'static str, String)> {
    let on = |on: bool| if on { "yes" } else { "" }.to_owned();
    let time = |duration| output::seconds(duration).map_or(String::new(), |s| format!("{s}s"));
    let labels = settings.labels.iter();
    let labels: Vec<_> = labels
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let checks: Vec<_> = settings.checks.iter().map(|c| c.name.as_str()).collect();
    let percent = settings.panic_threshold;
    let alias = settings.alias_of.as_ref();
    let all = [
        ("description", settings.description.clone()),
        ("labels", labels.join(",")),
        ("checks", checks.join(",")),
        (
            "panic threshold",
            percent.map_or(String::new(), |p| format!("{p}%")),
        ),
        ("brake off", on(settings.brake_off)),
        (
            "brake released until",
            output::time(settings.brake_released_until),
        ),
        (
            "remove unhealthy after",
            time(settings.remove_unhealthy_after),
        ),
        ("flap damping", on(settings.flap_damping)),
        ("slow start", time(settings.slow_start)),
        ("alias of", alias.map_or(String::new(), path)),
        ("exported to", settings.exported_to.join(",")),
        ("set by", settings.author.clone()),
        ("set at", output::time(settings.update_time)),
        ("revision", settings.revision.to_string()),
    ];
    let said = all.into_iter().filter(|(_, is)| !is.is_empty());
    said.collect()
}

pub(super) fn settings_json(settings: &ServiceSettings) -> Value {
    let checks: Vec<_> = settings.checks.iter().map(|c| c.name.as_str()).collect();
    json!({
        "namespace": settings.namespace,
        "service": settings.service,
        "checks": checks,
        "panic_threshold": settings.panic_threshold,
        "brake_off": settings.brake_off,
        "brake_released_until": output::time(settings.brake_released_until),
        "remove_unhealthy_after": output::seconds(settings.remove_unhealthy_after),
        "flap_damping": settings.flap_damping,
        "slow_start": output::seconds(settings.slow_start),
        "labels": settings.labels,
        "description": settings.description,
        "alias_of": settings.alias_of.as_ref().map(path),
        "exported_to": settings.exported_to,
        "author": settings.author,
        "update_time": output::time(settings.update_time),
        "revision": settings.revision,
    })
}
