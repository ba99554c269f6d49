//! `subscribers`: who watches a service.

use clap::Args;
use serde_json::{Value, json};
use stanchion_client::proto::Subscriber;

use super::{
    Outcome,
    connection::Connection,
    exit::Exit,
    output::{self, Table},
};

/// List who watches the instances of a service, on all replicas
///
/// BEHIND is the number of revisions a subscriber has not been told about yet; most of them do not
/// concern it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  stanchion subscribers web\n  stanchion subscribers web -o json"
)]
pub(crate) struct Subscribers {
    /// Name of the service
    service: String,

    #[command(flatten)]
    pub(super) connection: Connection,
}

// === impl Subscribers ===

impl Subscribers {
    pub(super) async fn run(self) -> Outcome {
        let found = self.connection.client()?.subscribers(&self.service).await?;
        if self.connection.is_json() {
            let subscribers: Vec<_> = found.subscribers.iter().map(to_json).collect();
            output::json(&json!({
                "subscribers": subscribers,
                "silent_replicas": found.silent_replicas,
            }))?;
            return Ok(Exit::Ok);
        }
        let now = found.header.unwrap_or_default().revision;
        let mut table = Table::new([
            "CLIENT", "ADDRESS", "REPLICA", "VIEW", "FILTER", "ACKS", "STATE", "BEHIND", "SINCE",
        ]);
        for subscriber in found.subscribers {
            table.row([
                subscriber.client_id.clone(),
                subscriber.address.clone(),
                subscriber.replica.clone(),
                view(&subscriber),
                subscriber.filter.clone(),
                if subscriber.acknowledges { "yes" } else { "no" }.into(),
                state(&subscriber),
                (now - subscriber.told_revision).max(0).to_string(),
                output::ago(subscriber.open_time),
            ]);
        }
        table.print("nobody watches")?;
        for replica in found.silent_replicas {
            output::note(&format!("replica {replica} does not answer"))?;
        }
        Ok(Exit::Ok)
    }
}

fn view(subscriber: &Subscriber) -> String {
    output::lower(subscriber.view().as_str_name(), "INSTANCE_VIEW_")
}

fn state(subscriber: &Subscriber) -> String {
    output::lower(subscriber.state().as_str_name(), "SUBSCRIBER_STATE_")
}

fn to_json(subscriber: &Subscriber) -> Value {
    json!({
        "client_id": subscriber.client_id,
        "address": subscriber.address,
        "replica": subscriber.replica,
        "fingerprint": subscriber.fingerprint,
        "view": view(subscriber),
        "filter": subscriber.filter,
        "acknowledges": subscriber.acknowledges,
        "state": state(subscriber),
        "told_revision": subscriber.told_revision,
        "acknowledged_revision": subscriber.acknowledged_revision,
        "requested_revision": subscriber.requested_revision,
        "open_time": output::time(subscriber.open_time),
    })
}
