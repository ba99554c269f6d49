//! `services`: which services have instances.

use clap::Args;
use serde_json::{Value, json};
use stanchion_client::proto::Service;

use super::{
    Outcome,
    connection::Connection,
    exit::Exit,
    output::{self, Table},
};

/// List the services that have instances
///
/// A protected one has so few healthy instances that lists show all active ones; a braked one lost so
/// many sessions that removals are held.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  stanchion services\n  stanchion services pay -o json")]
pub(crate) struct Services {
    /// Only services whose name begins so
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,

    #[command(flatten)]
    pub(super) connection: Connection,
}

// === impl Services ===

impl Services {
    pub(super) async fn run(self) -> Outcome {
        let services = self.connection.client()?.services(&self.prefix).await?;
        if self.connection.is_json() {
            let services: Vec<_> = services.iter().map(to_json).collect();
            output::json(&json!({ "services": services }))?;
            return Ok(Exit::Ok);
        }
        let mut table = Table::new([
            "SERVICE",
            "INSTANCES",
            "SERVING",
            "SUSPECT",
            "UNHEALTHY",
            "PROTECTED",
            "BRAKED",
        ]);
        let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
        for service in services {
            table.row([
                service.service,
                service.instance_count.to_string(),
                service.serving_count.to_string(),
                service.suspect_count.to_string(),
                service.unhealthy_count.to_string(),
                yes(service.protected),
                yes(service.braked),
            ]);
        }
        table.print("no services")?;
        Ok(Exit::Ok)
    }
}

pub(super) fn to_json(service: &Service) -> Value {
    json!({
        "namespace": service.namespace,
        "service": service.service,
        "instance_count": service.instance_count,
        "serving_count": service.serving_count,
        "suspect_count": service.suspect_count,
        "unhealthy_count": service.unhealthy_count,
        "protected": service.protected,
        "braked": service.braked,
        "revision": service.revision,
    })
}
