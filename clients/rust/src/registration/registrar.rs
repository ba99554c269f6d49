//! The task behind a registration.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot, watch};

use super::RegistrationState;
use crate::{
    backoff::Backoff,
    call::{Caller, request_id},
    error::{Error, Result},
    proto::{
        Consistency, DeregisterInstanceRequest, ErrorReason, GetInstanceRequest, Guard, Instance,
        InstanceLost, InstanceLostCause, RegisterInstanceRequest, UpdateInstanceRequest,
        register_instance_request::Liveness, registry_service_client::RegistryServiceClient,
    },
    session::{Ended, Session, SessionEvent, SessionEvents, SessionKeeper},
};

pub(super) struct Registrar {
    pub(super) caller: Arc<Caller>,
    pub(super) keeper: Arc<SessionKeeper>,
    /// Whether the session is for this registration alone.
    pub(super) owned: bool,
    pub(super) namespace: String,
    pub(super) actor: String,
    /// What to register.
    pub(super) instance: Instance,
    pub(super) state: watch::Sender<RegistrationState>,
    /// Whether it is drained: what ends it then is no loss.
    pub(super) draining: bool,
    /// The last registration that was tried, whatever became of it.
    pub(super) attempt: Option<Attempt>,
}

/// A registration that may have happened.
pub(super) struct Attempt {
    session_id: String,
    request_id: String,
}

/// What a handle asks of its task.
pub(super) enum Command {
    Update(
        Box<dyn FnOnce(&mut Instance) + Send>,
        oneshot::Sender<Result<()>>,
    ),
    /// It is drained from now on, and not registered again; asks by which session it is.
    Drain(oneshot::Sender<Result<String>>),
    Deregister(oneshot::Sender<Result<bool>>),
}

/// A registration that stands, by this session.
pub(super) struct Held {
    session: Session,
    events: SessionEvents,
}

/// What happened to a registration that stood.
enum Happened {
    SessionEnded(Ended),
    Lost(InstanceLostCause, String),
    /// It may be lost, and nobody will say so.
    Doubtful,
    Asked(Option<Command>),
}

// === impl Registrar ===

impl Registrar {
    /// Registers the instance by a live session.
    pub(super) async fn register(&mut self, takeover: bool, guard: Option<Guard>) -> Result<Held> {
        let session = self.keeper.live().await?;
        // From before the call, so that no notice is missed.
        let events = session.events();
        let request_id = request_id();
        self.attempt = Some(Attempt {
            session_id: session.id().into(),
            request_id: request_id.clone(),
        });
        let request = RegisterInstanceRequest {
            namespace: self.namespace.clone(),
            instance: Some(self.instance.clone()),
            liveness: Some(Liveness::SessionId(session.id().into())),
            takeover,
            expected_revision: None,
            request_id,
            guard,
            actor: self.actor.clone(),
            client_id: String::new(),
        };
        let answer = self
            .caller
            .call(request, RegistryServiceClient::register_instance)
            .await?;
        let registered = answer.instance.ok_or_else(|| Error::contract("instance"))?;
        self.tell(RegistrationState::Registered(Arc::new(registered)));
        Ok(Held { session, events })
    }

    /// Keeps the instance registered until told otherwise.
    pub(super) async fn run(mut self, mut held: Held, mut commands: mpsc::Receiver<Command>) {
        loop {
            match held.happens(&self, &mut commands).await {
                Happened::SessionEnded(Ended::Closed) => {
                    return self.tell(RegistrationState::Ended);
                }
                Happened::SessionEnded(Ended::Lost(_)) | Happened::Lost(..) if self.draining => {
                    return self.leave().await;
                }
                Happened::SessionEnded(Ended::Lost(reason)) => {
                    tracing::info!(
                        ?reason,
                        instance = self.name(),
                        "session lost, registers again"
                    );
                    match self.recover(&mut commands).await {
                        Some(again) => held = again,
                        None => return,
                    }
                }
                Happened::Lost(cause, client_id) => return self.lose(cause, client_id).await,
                Happened::Doubtful => match self.still_owned(&held.session).await {
                    Some(true) | None => {}
                    // The session may have taken it along, which is told a moment later.
                    Some(false) if !held.session.outlives_now().await => {}
                    Some(false) if self.draining => return self.leave().await,
                    Some(false) => {
                        return self
                            .lose(InstanceLostCause::Unspecified, String::new())
                            .await;
                    }
                },
                Happened::Asked(Some(Command::Update(change, answer))) => {
                    let before = self.instance.clone();
                    change(&mut self.instance);
                    self.instance.service = before.service.clone();
                    self.instance.instance_id = before.instance_id.clone();
                    let outcome = match self.register(false, None).await {
                        Ok(again) => {
                            held = again;
                            Ok(())
                        }
                        Err(error) => {
                            self.instance = before;
                            Err(error)
                        }
                    };
                    // Whoever asked may have gone.
                    let _ = answer.send(outcome);
                }
                Happened::Asked(Some(Command::Drain(answer))) => {
                    self.draining = true;
                    let _ = answer.send(Ok(held.session.id().into()));
                }
                Happened::Asked(Some(Command::Deregister(answer))) => {
                    let outcome = self.deregister().await;
                    self.tell(RegistrationState::Ended);
                    let _ = answer.send(outcome);
                    return;
                }
                // The handle went without asking; its drop asks.
                Happened::Asked(None) => return,
            }
        }
    }

    /// Registers again by a new session, for ever; nothing if that is over.
    async fn recover(&mut self, commands: &mut mpsc::Receiver<Command>) -> Option<Held> {
        let mut backoff = Backoff::new(self.caller.options.max_backoff);
        let mut wait = Duration::ZERO;
        self.tell(RegistrationState::Recovering(None));
        loop {
            let again = async {
                tokio::time::sleep(wait).await;
                self.register(false, None).await
            };
            let error = tokio::select! {
                outcome = again => match outcome {
                    Ok(held) => return Some(held),
                    Err(error) => error,
                },
                command = commands.recv() => match command {
                    Some(Command::Update(change, answer)) => {
                        // Takes part in the next try.
                        change(&mut self.instance);
                        let _ = answer.send(Ok(()));
                        continue;
                    }
                    // There is nothing to drain: what is left goes by itself.
                    Some(Command::Drain(answer)) => {
                        let _ = answer.send(Err(Error::session_lost()));
                        continue;
                    }
                    Some(Command::Deregister(answer)) => {
                        let outcome = self.deregister().await;
                        self.tell(RegistrationState::Ended);
                        let _ = answer.send(outcome);
                        return None;
                    }
                    None => return None,
                },
            };
            if error.reason() == ErrorReason::InstanceAlreadyExists {
                // Somebody took the id while there was no session.
                let holder = error.metadata().get("holder").cloned();
                self.lose(InstanceLostCause::TakenOver, holder.unwrap_or_default())
                    .await;
                return None;
            }
            tracing::warn!(%error, instance = self.name(), "not registered again yet");
            self.tell(RegistrationState::Recovering(Some(error)));
            wait = backoff.wait();
        }
    }

    /// Undoes the last attempt, even one that has not arrived yet.
    pub(super) async fn deregister(&self) -> Result<bool> {
        let Some(attempt) = &self.attempt else {
            return Ok(false);
        };
        let request = DeregisterInstanceRequest {
            namespace: self.namespace.clone(),
            service: self.instance.service.clone(),
            instance_id: self.instance.instance_id.clone(),
            session_id: attempt.session_id.clone(),
            expected_revision: None,
            request_id: attempt.request_id.clone(),
            guard: None,
            actor: self.actor.clone(),
        };
        let answer = self
            .caller
            .call(request, RegistryServiceClient::deregister_instance)
            .await;
        self.close_session().await?;
        Ok(answer?.deregistered)
    }

    /// Asks whether the instance still belongs to the session, by a change of nothing. Nothing is
    /// answered if that stays open; the session's life decides then.
    async fn still_owned(&self, session: &Session) -> Option<bool> {
        let get = GetInstanceRequest {
            namespace: self.namespace.clone(),
            service: self.instance.service.clone(),
            instance_id: self.instance.instance_id.clone(),
            consistency: Consistency::Linearizable.into(),
            min_revision: 0,
        };
        let current = self
            .caller
            .call(get, RegistryServiceClient::get_instance)
            .await;
        let current = match current {
            Ok(answer) => answer.instance?,
            Err(error) => {
                return (error.reason() == ErrorReason::InstanceNotFound).then_some(false);
            }
        };
        let update = UpdateInstanceRequest {
            namespace: self.namespace.clone(),
            expected_revision: Some(current.revision),
            instance: Some(current),
            update_mask: Some(prost_types::FieldMask {
                paths: vec!["address".into()],
            }),
            session_id: session.id().into(),
            request_id: request_id(),
            guard: None,
            actor: self.actor.clone(),
        };
        let outcome = self
            .caller
            .call(update, RegistryServiceClient::update_instance)
            .await;
        match outcome {
            Ok(_) => Some(true),
            Err(error) => match error.reason() {
                ErrorReason::InstanceNotOwned | ErrorReason::InstanceNotFound => Some(false),
                _ => None,
            },
        }
    }

    /// Ends because this client wanted it so.
    async fn leave(&self) {
        self.tell(RegistrationState::Ended);
        if let Err(error) = self.close_session().await {
            tracing::debug!(%error, "the session of a drained instance was not closed and will expire");
        }
    }

    async fn lose(&self, cause: InstanceLostCause, client_id: String) {
        tracing::warn!(
            ?cause,
            client_id,
            instance = self.name(),
            "instance lost for good"
        );
        self.tell(RegistrationState::Lost(cause, client_id));
        if let Err(error) = self.close_session().await {
            tracing::debug!(%error, "the session of a lost instance was not closed and will expire");
        }
    }

    async fn close_session(&self) -> Result<()> {
        if self.owned {
            self.keeper.close().await?;
        }
        Ok(())
    }

    fn tell(&self, state: RegistrationState) {
        self.state.send_replace(state);
    }

    fn name(&self) -> String {
        format!("{}/{}", self.instance.service, self.instance.instance_id)
    }
}

// === impl Held ===

impl Held {
    /// Waits for something that concerns the registration.
    async fn happens(
        &mut self,
        registrar: &Registrar,
        commands: &mut mpsc::Receiver<Command>,
    ) -> Happened {
        loop {
            tokio::select! {
                // Notices first: a takeover that came just before the end of the session counts.
                biased;
                event = self.events.next() => match event {
                    Some(SessionEvent::InstanceLost(lost)) if registrar.is_mine(&lost) => {
                        return Happened::Lost(lost.cause(), lost.client_id);
                    }
                    Some(SessionEvent::Resumed) => return Happened::Doubtful,
                    Some(_) => {}
                    None => {
                        let ended = self.session.ended().unwrap_or(Ended::Closed);
                        return Happened::SessionEnded(ended);
                    }
                },
                command = commands.recv() => return Happened::Asked(command),
            }
        }
    }
}

impl Registrar {
    fn is_mine(&self, lost: &InstanceLost) -> bool {
        let namespace = |text: &str| match text {
            "" => "default".to_owned(),
            text => text.to_owned(),
        };
        lost.service == self.instance.service
            && lost.instance_id == self.instance.instance_id
            && namespace(&lost.namespace) == namespace(&self.namespace)
    }
}
