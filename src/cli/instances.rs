//! `instances`: where a service is, once or as it changes.

use clap::Args;
use serde_json::{Value, json};
use stanchion_client::{
    proto::{
        DeleteCause, Instance, InstanceView, ListInstancesRequest, Locality, LocalityTier, Port,
        Removal, WatchInstancesRequest,
    },
    watch::{Change, Update, UpdateKind},
};

use super::{
    Outcome,
    connection::{Connection, Format},
    exit::Exit,
    failure::Failure,
    health,
    output::{self, Table},
    parse, service,
};

/// List the instances of a service, or follow them
///
/// Shows those to send traffic to, as `now/weight` where the weight still grows; --all also shows suspect, unhealthy, draining and isolated ones.
/// With --watch it prints what there is, then every change; with `-o json` one object a line.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  stanchion instances web\n  stanchion instances web --all --watch\n  \
                        stanchion instances web --filter 'zone == a and not has metadata.canary'\n  \
                        stanchion instances web --near east/east-1 --failover 0.7\n  \
                        stanchion instances web --all -o wide\n  \
                        stanchion instances web -o json | jq -r '.instances[].address'"
)]
pub(crate) struct Instances {
    /// Name of the service
    service: String,

    /// Shows every instance
    #[arg(short, long)]
    all: bool,

    /// Shows those that were removed in the last 5 min without having been deregistered, and why
    #[arg(long, conflicts_with_all = ["all", "watch", "near"])]
    removed: bool,

    /// Only those it takes: health, state, version, region, zone, metadata.KEY compared by ==, !=,
    /// in (A, B); has metadata.KEY; and, or, not, (...)
    #[arg(short, long, value_name = "FILTER")]
    filter: Option<String>,

    /// Where the caller is: near ones first
    #[arg(long, value_parser = parse::place, value_name = "[REGION/]ZONE")]
    near: Option<(String, String)>,

    /// Only near ones while such a share of them is healthy, 0 to 1
    #[arg(long, requires = "near", value_name = "SHARE")]
    failover: Option<f64>,

    /// Goes on with every change
    #[arg(short, long, conflicts_with = "near")]
    watch: bool,

    #[command(flatten)]
    pub(super) connection: Connection,
}

// === impl Instances ===

impl Instances {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client()?;
        let view = match (self.all, self.removed) {
            (true, _) => InstanceView::All,
            (false, true) => InstanceView::Removed,
            (false, false) => InstanceView::Serving,
        };
        if self.watch {
            let mut watch = client.watch(WatchInstancesRequest {
                namespace: client.namespace().into(),
                service: self.service.clone(),
                view: view.into(),
                filter: self.filter.clone().unwrap_or_default(),
                ..Default::default()
            });
            // A first answer within the time of a call, so that a wrong address is told.
            client.server_info().await?;
            loop {
                self.show(watch.next().await?)?;
            }
        }
        let request = ListInstancesRequest {
            service: self.service.clone(),
            view: view.into(),
            filter: self.filter.clone().unwrap_or_default(),
            locality: self.near.as_ref().map(|(region, zone)| Locality {
                region: region.clone(),
                zone: zone.clone(),
                failover_threshold: self.failover,
            }),
            ..Default::default()
        };
        let list = client.list_instances(request).await?;
        if self.connection.is_json() {
            let header = list.header.clone().unwrap_or_default();
            output::json(&json!({
                "service": self.service,
                "revision": header.revision,
                "epoch": header.epoch,
                "protected": list.protected,
                "braked": list.braked,
                "answered_by": list.answered_by.as_ref().map(service::path),
                "alias_broken": list.alias_broken,
                "instances": list.instances.iter().map(to_json).collect::<Vec<_>>(),
            }))?;
        } else if self.removed {
            let nothing = format!("no instance of {} was removed lately", self.service);
            print_removed(&list.instances, &nothing)?;
        } else {
            let nothing = format!("no instances of {}", self.service);
            match self.connection.output {
                Format::Wide => {
                    let reasons = health::reasons(&client, &list.instances).await?;
                    health::print(&list.instances, &reasons, &nothing)?;
                }
                _ => print(&list.instances, &nothing)?,
            }
            if let Some(target) = &list.answered_by {
                output::note(&format!("an alias of {}", service::path(target)))?;
            }
            if list.alias_broken {
                output::note(
                    "an alias that leads nowhere: its target is not exported to here, or is one",
                )?;
            }
            if list.protected {
                output::note("protected: too few are healthy, so all are shown")?;
            }
            if list.braked {
                output::note("braked: many sessions ended at once, so removals are held")?;
            }
        }
        Ok(Exit::Ok)
    }

    fn show(&self, update: Update<Instance>) -> Result<(), Failure> {
        let revision = update.revision;
        match update.kind {
            UpdateKind::Current => Ok(()),
            UpdateKind::Snapshot { items, .. } if self.connection.is_json() => {
                output::json_line(&json!({
                    "type": "snapshot",
                    "revision": revision,
                    "protected": update.protected,
                    "instances": items.iter().map(to_json).collect::<Vec<_>>(),
                }))
            }
            UpdateKind::Snapshot { items, .. } => {
                print(&items, &format!("no instances of {} yet", self.service))
            }
            UpdateKind::Delta { changes, .. } => changes.iter().try_for_each(|change| {
                let (kind, instance, cause) = told(change);
                if self.connection.is_json() {
                    return output::json_line(&json!({
                        "type": kind,
                        "revision": revision,
                        "protected": update.protected,
                        "instance": to_json(instance),
                        "cause": cause,
                    }));
                }
                output::line(&format!(
                    "{} {kind:8} {}  {} {}  {}{}",
                    humantime::format_rfc3339_seconds(std::time::SystemTime::now()),
                    instance.instance_id,
                    instance.address,
                    ports(&instance.ports),
                    state(instance),
                    cause.map(|cause| format!(" ({cause})")).unwrap_or_default(),
                ))
            }),
        }
    }
}

fn told(change: &Change<Instance>) -> (&'static str, &Instance, Option<String>) {
    match change {
        Change::Added(instance) => ("added", instance, None),
        Change::Modified(instance) => ("modified", instance, None),
        Change::Deleted(instance, cause) => {
            let cause = (*cause != DeleteCause::Unspecified)
                .then(|| output::lower(cause.as_str_name(), "DELETE_CAUSE_"));
            ("deleted", instance, cause)
        }
    }
}

fn print(instances: &[Instance], nothing: &str) -> Result<(), Failure> {
    let mut table = Table::new([
        "ID", "ADDRESS", "PORTS", "HEALTH", "WEIGHT", "VERSION", "ZONE", "CLIENT", "SINCE",
    ]);
    for instance in instances {
        table.row([
            instance.instance_id.clone(),
            instance.address.clone(),
            ports(&instance.ports),
            state(instance),
            weight(instance),
            instance.version.clone(),
            zone(instance),
            instance.client_id.clone(),
            output::ago(instance.register_time),
        ]);
    }
    table.print(nothing)
}

fn print_removed(instances: &[Instance], nothing: &str) -> Result<(), Failure> {
    let mut table = Table::new([
        "ID", "ADDRESS", "VERSION", "ZONE", "CLIENT", "REMOVED", "CAUSE", "DETAIL",
    ]);
    for instance in instances {
        let removal = instance.removal.clone().unwrap_or_default();
        table.row([
            instance.instance_id.clone(),
            instance.address.clone(),
            instance.version.clone(),
            instance.zone.clone(),
            instance.client_id.clone(),
            format!("{} ago", output::ago(removal.remove_time)),
            removal_cause(&removal),
            removal.detail,
        ]);
    }
    table.print(nothing)
}

fn removal_cause(removal: &Removal) -> String {
    output::lower(removal.cause().as_str_name(), "REMOVAL_CAUSE_")
}

/// The weight, after what of it counts now if that is less.
fn weight(instance: &Instance) -> String {
    let weight = instance.weight.unwrap_or_default();
    match instance.effective_weight {
        Some(now) => format!("{now}/{weight}"),
        None => weight.to_string(),
    }
}

pub(super) fn ports(ports: &[Port]) -> String {
    let one = |port: &Port| {
        let name = match port.name.as_str() {
            "" => String::new(),
            name => format!("{name}="),
        };
        let protocol = match port.protocol.as_str() {
            "" => String::new(),
            protocol => format!("/{protocol}"),
        };
        format!("{name}{}{protocol}", port.port)
    };
    ports.iter().map(one).collect::<Vec<_>>().join(",")
}

/// Health, and the operator state if it is not the usual one.
pub(super) fn state(instance: &Instance) -> String {
    let health = output::lower(instance.health().as_str_name(), "HEALTH_");
    match operator_state(instance).as_str() {
        "active" | "unspecified" => health,
        operator => format!("{health},{operator}"),
    }
}

/// The zone, and how near it is if that was asked for.
fn zone(instance: &Instance) -> String {
    match tier(instance) {
        None => instance.zone.clone(),
        Some(tier) => format!("{} ({tier})", instance.zone).trim_start().into(),
    }
}

fn tier(instance: &Instance) -> Option<String> {
    let tier = instance.locality_tier();
    (tier != LocalityTier::Unspecified).then(|| output::lower(tier.as_str_name(), "LOCALITY_TIER_"))
}

fn operator_state(instance: &Instance) -> String {
    output::lower(instance.operator_state().as_str_name(), "OPERATOR_STATE_")
}

pub(super) fn to_json(instance: &Instance) -> Value {
    let port =
        |port: &Port| json!({"name": port.name, "port": port.port, "protocol": port.protocol});
    json!({
        "namespace": instance.namespace,
        "service": instance.service,
        "instance_id": instance.instance_id,
        "address": instance.address,
        "ports": instance.ports.iter().map(port).collect::<Vec<_>>(),
        "weight": instance.weight,
        "effective_weight": instance.effective_weight.or(instance.weight),
        "version": instance.version,
        "region": instance.region,
        "zone": instance.zone,
        "metadata": instance.metadata,
        "operator_state": operator_state(instance),
        "health": output::lower(instance.health().as_str_name(), "HEALTH_"),
        "persistent": instance.persistent,
        "client_id": instance.client_id,
        "register_time": output::time(instance.register_time),
        "revision": instance.revision,
        "serving": instance.serving,
        "locality_tier": tier(instance),
        "removal": instance.removal.as_ref().map(|removal| json!({
            "cause": removal_cause(removal),
            "detail": removal.detail,
            "remove_time": output::time(removal.remove_time),
        })),
    })
}
