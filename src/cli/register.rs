//! `register`: keeps an instance registered while this runs, alone or around a command.

use std::{ffi::OsString, time::Duration};

use clap::Args;
use serde_json::json;
use stanchion_client::{Client, Registration, RegistrationState, SessionOptions, proto::Port};
use tokio::sync::watch;

use super::{
    Outcome,
    checks::Checks,
    child::{Child, ChildEvent},
    connection::{self, Connection, host},
    exit::Exit,
    failure::Failure,
    instances, output, parse,
    signals::{self, Signals},
};

/// How long a signal to the command may be held back until the instance is deregistered.
const DEREGISTER_FIRST: Duration = Duration::from_millis(500);

/// Register an instance and keep it registered while this runs
///
/// With a command after `--`, runs it, passes signals on, deregisters when it ends and exits as it
/// does. Without one, runs until it gets INT or TERM, and then deregisters. If this is killed the
/// instance becomes suspect when its TTL ends and is removed after a grace.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  stanchion register web --address 10.0.0.7 --port http=8080/http\n  \
                        stanchion register web --address 10.0.0.7 --port 8080 --check-http /healthz\n  \
                        stanchion register web --address 10.0.0.7 --port 8080 -- ./server --port 8080"
)]
pub(crate) struct Register {
    /// Name of the service
    service: String,

    /// Host name or IP address where the instance is reached
    #[arg(long)]
    address: String,

    /// A port, as [NAME=]PORT[/PROTOCOL]; may be repeated
    #[arg(long, value_parser = parse::port)]
    port: Vec<Port>,

    /// Id of the instance, unique in its service [default: random]
    #[arg(long)]
    id: Option<String>,

    /// Share of the load, 0 to 10000 [default: 100]
    #[arg(long)]
    weight: Option<i32>,

    /// Version of the program
    #[arg(long = "app-version", default_value = "", hide_default_value = true)]
    app_version: String,

    /// Region it runs in
    #[arg(long, default_value = "", hide_default_value = true)]
    region: String,

    /// Zone it runs in
    #[arg(long, default_value = "", hide_default_value = true)]
    zone: String,

    /// Something callers want to know; may be repeated
    #[arg(long = "meta", value_parser = parse::pair, value_name = "KEY=VALUE")]
    metadata: Vec<(String, String)>,

    /// How long it stays after the last heartbeat, 5s to 10m [default: 15s]
    #[arg(long, value_parser = parse::duration, value_name = "DURATION")]
    ttl: Option<Duration>,

    /// Name of this client: a restart with the same name takes its instance back at once
    /// [default: host and --id, if that is given]
    #[arg(long, value_name = "NAME")]
    client_id: Option<String>,

    /// Replaces the registration even of a client that lives
    #[arg(long)]
    takeover: bool,

    #[command(flatten)]
    checks: Checks,

    /// A command to run while the instance is registered
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,

    #[command(flatten)]
    pub(super) connection: Connection,
}

// === impl Register ===

impl Register {
    pub(super) async fn run(self) -> Outcome {
        let client_id = self.client_id.clone().or_else(|| {
            let id = self.id.as_ref()?;
            Some(format!("{}:{id}", host()))
        });
        let client = self.connection.client_with(SessionOptions {
            ttl: self.ttl,
            client_id: client_id.unwrap_or_default(),
            metadata: [
                ("host".to_owned(), host()),
                ("pid".to_owned(), std::process::id().to_string()),
            ]
            .into(),
        })?;
        let outcome = self.run_with(&client).await;
        // Takes the instance along, if it is still there.
        connection::close(&client).await;
        outcome
    }

    async fn run_with(&self, client: &Client) -> Outcome {
        // Before anything is registered, so that no signal leaves it behind.
        let signals = Signals::catch()?;
        let registration = self.register(client).await?;
        self.announce(&registration)?;
        if self.command.is_empty() {
            return self.stay(registration, signals).await;
        }
        let environment = [
            ("STANCHION_SERVICE", registration.service().to_owned()),
            (
                "STANCHION_INSTANCE_ID",
                registration.instance_id().to_owned(),
            ),
        ];
        match Child::spawn(&self.command, environment, signals) {
            Ok(child) => self.accompany(registration, child).await,
            Err(failure) => {
                deregister(registration).await?;
                Err(failure)
            }
        }
    }

    async fn register(&self, client: &Client) -> Result<Registration, Failure> {
        let mut request = client
            .register(&self.service, &self.address)
            .version(&self.app_version)
            .location(&self.region, &self.zone);
        if let Some(id) = &self.id {
            request = request.id(id);
        }
        if let Some(weight) = self.weight {
            request = request.weight(weight);
        }
        if self.takeover {
            request = request.takeover();
        }
        for port in &self.port {
            // Parsed from a u16.
            let number = u16::try_from(port.port).unwrap_or_default();
            request = request.port(&port.name, number, &port.protocol);
        }
        for check in self.checks.all() {
            request = request.check(check);
        }
        for (key, value) in &self.metadata {
            request = request.metadata(key, value);
        }
        Ok(request.start().await?)
    }

    fn announce(&self, registration: &Registration) -> Result<(), Failure> {
        let RegistrationState::Registered(instance) = registration.state() else {
            return Ok(());
        };
        if self.connection.is_json() {
            return output::json_line(&json!({"instance": instances::to_json(&instance)}));
        }
        output::note(&format!(
            "registered {}/{} at {}",
            instance.service, instance.instance_id, instance.address
        ))
    }

    /// Runs until told to end.
    async fn stay(&self, registration: Registration, mut signals: Signals) -> Outcome {
        let mut state = registration.watch();
        loop {
            tokio::select! {
                signal = signals.next() => if signals::ends(signal) {
                    deregister(registration).await?;
                    return Ok(Exit::Ok);
                },
                over = changed(&mut state) => if over? {
                    return Ok(Exit::Lost);
                },
            }
        }
    }

    /// Runs until the command ends.
    async fn accompany(&self, registration: Registration, mut child: Child) -> Outcome {
        let mut state = registration.watch();
        let mut registration = Some(registration);
        let status = loop {
            tokio::select! {
                event = child.event() => match event? {
                    ChildEvent::Ended(status) => break status,
                    ChildEvent::Signal(signal) => {
                        // Out of the rotation first, then the signal: no request meets a server
                        // that is going away.
                        if signals::ends(signal) && let Some(registration) = registration.take() {
                            let going = deregister(registration);
                            if let Ok(gone) = tokio::time::timeout(DEREGISTER_FIRST, going).await {
                                gone?;
                            }
                        }
                        child.forward(signal);
                    }
                },
                // The command goes on without its registration: who took it over decides.
                over = changed(&mut state), if registration.is_some() => if over? {
                    registration = None;
                },
            }
        };
        if let Some(registration) = registration {
            deregister(registration).await?;
        }
        Ok(Exit::of_child(status))
    }
}

/// Waits for a change and tells it; answers whether the registration is over.
async fn changed(state: &mut watch::Receiver<RegistrationState>) -> Result<bool, Failure> {
    if state.changed().await.is_err() {
        return Ok(true);
    }
    let now = state.borrow_and_update().clone();
    match &now {
        RegistrationState::Registered(instance) => output::note(&format!(
            "registered {}/{} again",
            instance.service, instance.instance_id
        ))?,
        RegistrationState::Recovering(None) => output::note("session lost, registering again")?,
        RegistrationState::Recovering(Some(error)) => {
            output::note(&format!("not registered yet: {error}"))?;
        }
        RegistrationState::Lost(cause, client_id) => output::note(&format!(
            "instance lost: {}{}; not registering again",
            output::lower(cause.as_str_name(), "INSTANCE_LOST_CAUSE_"),
            match client_id.as_str() {
                "" => String::new(),
                client_id => format!(" by {client_id}"),
            }
        ))?,
        RegistrationState::Ended => {}
    }
    Ok(now.is_final())
}

/// Deregisters. When no server answers the instance goes by itself, so that is only told.
async fn deregister(registration: Registration) -> Result<(), Failure> {
    match registration.deregister().await {
        Ok(_) => Ok(()),
        Err(error) => output::note(&format!(
            "stanchion: not deregistered, goes when its TTL ends: {error}"
        )),
    }
}
