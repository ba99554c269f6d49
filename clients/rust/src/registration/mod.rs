//! Registrations: instances that stay registered until told otherwise.

mod registrar;

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot, watch};

use self::registrar::{Command, Registrar};
use crate::{
    Client,
    drain::Drain,
    error::{Error, Result},
    options::SessionOptions,
    proto::{
        DrainInstanceRequest, DrainInstanceResponse, Guard, HealthCheck, Instance,
        InstanceLostCause, Port,
    },
    session::{AbortOnDrop, SessionKeeper},
};

/// Commands that may wait; a handle sends them one by one.
const COMMANDS: usize = 4;
/// How long deregistering in the background may take.
const DEREGISTER_TIMEOUT: Duration = Duration::from_secs(3);

/// An instance about to be registered. See [`Client::register`].
#[derive(Debug, Clone)]
#[must_use = "nothing is registered before `start`"]
pub struct InstanceRequest {
    client: Client,
    instance: Instance,
    own_session: Option<SessionOptions>,
    takeover: bool,
    guard: Option<Guard>,
}

/// A registered instance, registered again by itself whenever its session is lost.
///
/// Somebody else's decision is final: after a takeover or a deregistration by another the state is
/// [`Lost`](RegistrationState::Lost) and nothing is registered again. Dropping the handle
/// deregisters in the background; best by [`deregister`](Self::deregister).
#[derive(Debug)]
pub struct Registration {
    client: Client,
    service: String,
    instance_id: String,
    state: watch::Receiver<RegistrationState>,
    commands: mpsc::Sender<Command>,
    task: Option<AbortOnDrop>,
}

/// Where a registration stands.
#[derive(Debug, Clone)]
pub enum RegistrationState {
    /// The instance is registered; as the server answered it.
    Registered(Arc<Instance>),
    /// The session was lost and another is being opened, for ever. The last error, if any.
    Recovering(Option<Error>),
    /// Somebody else decided that the instance is not this client's any more: why, and who has it
    /// now, if known. Final.
    Lost(InstanceLostCause, String),
    /// It was deregistered by this client. Final.
    Ended,
}

// === impl InstanceRequest ===

impl InstanceRequest {
    pub(crate) fn new(client: Client, service: &str, address: &str) -> Self {
        Self {
            client,
            instance: Instance {
                service: service.into(),
                // Known before the first call, so that every repetition means the same instance.
                instance_id: format!("{:016x}", rand::random::<u64>()),
                address: address.into(),
                ..Default::default()
            },
            own_session: None,
            takeover: false,
            guard: None,
        }
    }

    /// Id of the instance, unique in its service. Default: a random one.
    pub fn id(mut self, instance_id: impl Into<String>) -> Self {
        self.instance.instance_id = instance_id.into();
        self
    }

    /// Adds a port. The protocol may be empty.
    pub fn port(mut self, name: &str, port: u16, protocol: &str) -> Self {
        self.instance.ports.push(Port {
            name: name.into(),
            port: port.into(),
            protocol: protocol.into(),
        });
        self
    }

    /// Share of the load relative to other instances, 0 to 10 000. Default 100.
    pub fn weight(mut self, weight: i32) -> Self {
        self.instance.weight = Some(weight);
        self
    }

    /// Version of the program.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.instance.version = version.into();
        self
    }

    /// Region and zone it runs in.
    pub fn location(mut self, region: impl Into<String>, zone: impl Into<String>) -> Self {
        self.instance.region = region.into();
        self.instance.zone = zone.into();
        self
    }

    /// Adds something callers want to know.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.instance.metadata.insert(key.into(), value.into());
        self
    }

    /// Adds a check of its health, which the servers make. Default: what is set for its service.
    pub fn check(mut self, check: HealthCheck) -> Self {
        self.instance.checks.push(check);
        self
    }

    /// Lives by a session of its own. Default: the session that the client shares.
    pub fn own_session(mut self, options: SessionOptions) -> Self {
        self.own_session = Some(options);
        self
    }

    /// Replaces the registration even of a live session, the first time.
    pub fn takeover(mut self) -> Self {
        self.takeover = true;
        self
    }

    /// Registers only while a lock is held, the first time.
    pub fn guard(mut self, guard: Guard) -> Self {
        self.guard = Some(guard);
        self
    }

    /// Registers the instance and keeps it registered.
    ///
    /// Fails like the first registration; later failures are only seen in the state.
    pub async fn start(self) -> Result<Registration> {
        let caller = self.client.caller().clone();
        let (keeper, owned) = match self.own_session {
            Some(options) => (Arc::new(SessionKeeper::new(caller.clone(), options)), true),
            None => (self.client.keeper().clone(), false),
        };
        let (state, watched) = watch::channel(RegistrationState::Recovering(None));
        let (commands, queue) = mpsc::channel(COMMANDS);
        let (service, instance_id) = (
            self.instance.service.clone(),
            self.instance.instance_id.clone(),
        );
        let mut registrar = Registrar {
            caller,
            keeper,
            owned,
            namespace: self.client.namespace().into(),
            actor: self.client.actor().into(),
            instance: self.instance,
            state,
            draining: false,
            attempt: None,
        };
        let held = match registrar.register(self.takeover, self.guard).await {
            Ok(held) => held,
            Err(error) => {
                if error.is_retryable() {
                    // It may have happened, or happen yet, and nobody would look after it.
                    tokio::spawn(async move {
                        let undo = tokio::time::timeout(DEREGISTER_TIMEOUT, registrar.deregister());
                        if let Ok(Err(error)) = undo.await {
                            tracing::debug!(%error, "a registration in doubt was not undone");
                        }
                    });
                }
                return Err(error);
            }
        };
        Ok(Registration {
            client: self.client,
            service,
            instance_id,
            state: watched,
            commands,
            task: Some(AbortOnDrop::spawn(registrar.run(held, queue))),
        })
    }
}

// === impl Registration ===

impl Registration {
    /// Name of the service.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Id of the instance; the same after every registration.
    pub fn instance_id(&self) -> &str {
        &self.instance_id
    }

    /// Where it stands.
    pub fn state(&self) -> RegistrationState {
        self.state.borrow().clone()
    }

    /// Follows where it stands, from now on.
    pub fn watch(&self) -> watch::Receiver<RegistrationState> {
        let mut state = self.state.clone();
        state.mark_unchanged();
        state
    }

    /// Completes when the instance is no longer this client's, for good.
    pub async fn lost(&self) -> RegistrationState {
        let mut state = self.state.clone();
        match state.wait_for(RegistrationState::is_final).await {
            Ok(state) => state.clone(),
            Err(_) => RegistrationState::Ended,
        }
    }

    /// Replaces what is registered; `change` gets what was last said of the instance. Its service
    /// and id cannot be changed.
    pub async fn update(&self, change: impl FnOnce(&mut Instance) + Send + 'static) -> Result<()> {
        self.command(|answer| Command::Update(Box::new(change), answer))
            .await
    }

    /// Drains the instance: it gets no new traffic at once, and is removed when every watcher of
    /// its service knows, or at the deadline (1 s to 10 min; none: 20 s). Then it is safe to stop
    /// serving. `progress` is told how far it is; the last message is the answer.
    ///
    /// The instance is deregistered in the end, even if the drain fails.
    pub async fn drain(
        self,
        deadline: Option<Duration>,
        mut progress: impl FnMut(&DrainInstanceResponse),
    ) -> Result<DrainInstanceResponse> {
        let session_id = self.command(Command::Drain).await?;
        let request = DrainInstanceRequest {
            namespace: self.client.namespace().into(),
            service: self.service.clone(),
            instance_id: self.instance_id.clone(),
            session_id,
            actor: self.client.actor().into(),
            ..Default::default()
        };
        let mut drain = Drain::new(self.client.caller().clone(), request, deadline);
        let drained = loop {
            match drain.next().await {
                Ok(Some(news)) => progress(&news),
                Ok(None) => break drain.end().await,
                Err(error) => break Err(error),
            }
        };
        self.deregister().await?;
        drained
    }

    /// Deregisters the instance at once. Answers whether it was still registered.
    pub async fn deregister(self) -> Result<bool> {
        match self.command(Command::Deregister).await {
            Err(_) if self.state.borrow().is_final() => Ok(false),
            outcome => outcome,
        }
    }

    async fn command<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T>>) -> Command,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        if self.commands.send(command(answer)).await.is_err() {
            return Err(Error::session_lost());
        }
        // The task ends without an answer only when the instance was lost.
        answered
            .await
            .unwrap_or_else(|_| Err(Error::session_lost()))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let Some(task) = self.task.take() else {
            return;
        };
        if self.state.borrow().is_final() {
            return;
        }
        let (answer, answered) = oneshot::channel();
        if self.commands.try_send(Command::Deregister(answer)).is_err() {
            return;
        }
        // Without a runtime nobody can deregister it, and it ends with the session.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _ = tokio::time::timeout(DEREGISTER_TIMEOUT, answered).await;
                drop(task);
            });
        }
    }
}

// === impl RegistrationState ===

impl RegistrationState {
    /// Whether nothing will change any more.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Lost(..) | Self::Ended)
    }

    /// Whether the instance is registered, as far as known.
    pub fn is_registered(&self) -> bool {
        matches!(self, Self::Registered(_))
    }
}
