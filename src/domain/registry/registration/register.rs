//! Registration: one instance or a batch, on a session, on a new one, or on none.

use std::sync::Arc;

use crate::{
    domain::{
        error::Error,
        guard::Guard,
        keyspace::InstanceKey,
        names::{InstanceId, Label, Namespace, ServiceName},
        session::{OpenSession, Session, Unopened},
        session_id::SessionId,
    },
    store::{Operation, OperationResponse, Revision, Txn, TxnResponse},
};

use crate::domain::registry::{
    Instance, InstanceRecord, InstanceSpec, Registry, random_request_id,
    registration::attempt::{Attempt, Step},
    registration::backing::{Backing, Support},
    registration::claim::{Owner, Registration},
};

/// How many bytes of records go into one transaction of a batch: far below the store's limit, so
/// that keys, compares and reads fit beside them.
const GROUP_BYTES: usize = 512 * 1024;

/// An instance to be registered.
#[derive(Debug, Clone)]
pub struct NewInstance {
    /// The namespace.
    pub namespace: Namespace,
    /// The service.
    pub service: ServiceName,
    /// The id; `None`: one is assigned.
    pub id: Option<InstanceId>,
    /// What is to be known of it.
    pub spec: InstanceSpec,
    /// The revision the current registration must have; `0`: there must be none.
    pub expected_revision: Option<Revision>,
}

/// What keeps an instance alive.
#[derive(Debug, Clone)]
pub enum Liveness {
    /// A session that is open.
    Session(SessionId),
    /// A session that the registration opens, and that is closed again if nothing comes of it.
    Open(OpenSession),
    /// Nothing: it stays until it is deregistered.
    Persistent,
}

/// How instances are to be registered.
#[derive(Debug, Clone)]
pub struct Terms {
    /// What keeps them alive.
    pub liveness: Liveness,
    /// Replaces registrations even of live sessions.
    pub takeover: bool,
    /// The name of the request; empty: none.
    pub request_id: String,
    /// The lock that must be held.
    pub guard: Option<Guard>,
    /// Who asks, unverified.
    pub actor: Label,
}

/// What came of a registration.
#[derive(Debug)]
pub struct Registered {
    /// The instances, in the order in which they were asked for.
    pub outcomes: Vec<Result<Arc<Instance>, Error>>,
    /// What keeps them alive; `None` for persistent ones, and if none is registered.
    pub support: Option<Support>,
    /// The revision at which all this is so.
    pub revision: Revision,
}

// === impl Registry ===

impl Registry {
    /// Registers instances, each with its own outcome.
    ///
    /// All of them go into one transaction (large batches into a few), each nested with compares
    /// of its own: so one of them being taken does not stop the others, guard and session are
    /// judged once for all, and watchers are told of all of them together.
    ///
    /// Errors are those of the whole; nothing is registered then. Nothing of an outcome that is an
    /// error was done.
    pub async fn register(
        &self,
        instances: Vec<NewInstance>,
        terms: Terms,
    ) -> Result<Registered, Error> {
        let before = self.core.cache.view()?.revision;
        let support = match self.backing(&instances, &terms).await? {
            Backing::Nothing => None,
            Backing::Session(support) => Some(support),
            Backing::Unopened(unopened) => {
                return self.register_opening(instances, &terms, unopened).await;
            }
        };
        // A repeated request finds the session of the first: that one is not ours to close.
        let opened = support.as_ref().is_some_and(|support| {
            support.valid_until.is_some() && support.session.create_revision > before
        });
        let registered = self
            .register_on(instances, &terms, support.clone(), None)
            .await;
        if let Some(support) = support.filter(|_| opened && came_to_nothing(&registered))
            && let Err(error) = self.sessions.close(support.session.id, None).await
        {
            tracing::debug!(%error, "a session that came to nothing is left to expire");
        }
        Ok(registered?.0)
    }

    /// Registers one instance together with its session: one transaction after the grant.
    async fn register_opening(
        &self,
        instances: Vec<NewInstance>,
        terms: &Terms,
        unopened: Unopened,
    ) -> Result<Registered, Error> {
        let support = Support {
            session: unopened.session.clone(),
            valid_until: None,
        };
        let opening = Some(&*unopened.session);
        let registered = self
            .register_on(instances, terms, Some(support), opening)
            .await;
        if came_to_nothing(&registered) {
            // With the lease goes the session, if an answer was lost and it is there.
            self.sessions.abandon(&unopened).await;
        }
        let (mut registered, opened) = registered?;
        if registered.support.is_some() {
            let opened = opened.unwrap_or(registered.revision);
            let opened = self.sessions.opened(unopened, opened);
            registered.support = Some(opened.into());
        }
        Ok(registered)
    }

    /// Also returns the revision that opened the session `opening`, if one did.
    async fn register_on(
        &self,
        instances: Vec<NewInstance>,
        terms: &Terms,
        support: Option<Support>,
        opening: Option<&Session>,
    ) -> Result<(Registered, Option<Revision>), Error> {
        let owner = match &support {
            Some(support) => Owner {
                session: Some(support.session.id),
                client_id: support.session.client_id.clone(),
            },
            None => Owner {
                session: None,
                client_id: Label::default(),
            },
        };
        let view = self.core.cache.view()?;
        let wanted: Vec<Registration> = instances
            .into_iter()
            .enumerate()
            .map(|(index, instance)| registration(instance, index, terms, &owner))
            .collect::<Result<_, _>>()?;
        let mut outcomes = self.without_room(&wanted, &owner, &view);
        let now = self.core.clock.system_time();
        let mut attempts: Vec<_> = wanted
            .iter()
            .map(|wanted| {
                let attempt = Attempt::new(&self.core.keys, wanted, &owner, &view, now);
                match opening {
                    Some(session) => attempt.opening(session),
                    None => attempt,
                }
            })
            .collect();
        // Held on to, it would keep a whole state of the past.
        drop(view);
        let mut revision = 0;
        loop {
            let mut steps = Vec::new();
            for (index, attempt) in attempts.iter_mut().enumerate() {
                if outcomes[index].is_none() {
                    match attempt.step() {
                        Step::Send(txn) => steps.push((index, txn)),
                        Step::Done(outcome) => outcomes[index] = Some(outcome),
                    }
                }
            }
            if steps.is_empty() {
                break;
            }
            for group in groups(steps) {
                let indices: Vec<_> = group.iter().map(|(index, _)| *index).collect();
                match self.send(terms.guard.as_ref(), group).await {
                    Ok((responses, at)) => {
                        revision = at.max(revision);
                        for (index, response) in indices.into_iter().zip(responses) {
                            outcomes[index] = attempts[index].absorb(&response, at);
                        }
                    }
                    Err(error) if !outcomes.iter().any(is_done) => return Err(error),
                    Err(error) => {
                        for index in indices {
                            outcomes[index] = Some(Err(error.clone()));
                        }
                    }
                }
            }
        }
        let opened = attempts.iter().find_map(Attempt::opened);
        Ok((self.conclude(outcomes, support, revision)?, opened))
    }

    fn conclude(
        &self,
        outcomes: Vec<Option<Outcome>>,
        support: Option<Support>,
        revision: Revision,
    ) -> Result<Registered, Error> {
        let outcomes: Vec<_> = outcomes
            .into_iter()
            .flatten()
            .map(|outcome| outcome.map(|record| self.shown(record, revision)))
            .collect();
        let done = outcomes.iter().any(Result::is_ok);
        let expired = |outcome: &Result<_, Error>| matches!(outcome, Err(Error::LeaseExpired));
        if !done && outcomes.iter().any(expired) {
            return Err(Error::LeaseExpired);
        }
        Ok(Registered {
            outcomes,
            support: support.filter(|_| done),
            revision,
        })
    }

    async fn send(
        &self,
        guard: Option<&Guard>,
        mut group: Vec<(usize, Txn)>,
    ) -> Result<(Vec<TxnResponse>, Revision), Error> {
        if group.len() == 1
            && let Some((_, txn)) = group.pop()
        {
            let response = match guard {
                None => self.group.commit(&self.core, txn, None).await?,
                Some(_) => self.core.commit(guard, txn).await?,
            };
            let revision = response.revision;
            return Ok((vec![response], revision));
        }
        let txn = group
            .into_iter()
            .fold(Txn::new(), |all, (_, txn)| all.then(Operation::Txn(txn)));
        let response = self.core.commit(guard, txn).await?;
        let nested = response.responses.into_iter().filter_map(|one| match one {
            OperationResponse::Txn(nested) => Some(nested),
            _ => None,
        });
        Ok((nested.collect(), response.revision))
    }
}

/// What came of one registration.
pub(super) type Outcome = Result<Arc<InstanceRecord>, Error>;

/// Whether a session that was opened for a registration is of no use.
fn came_to_nothing<T>(registered: &Result<(Registered, T), Error>) -> bool {
    match registered {
        Ok((registered, _)) => registered.support.is_none(),
        // The repeat of a call whose outcome is unknown needs it.
        Err(error) => !matches!(error, Error::CommitUnknown(_)),
    }
}

fn is_done(outcome: &Option<Outcome>) -> bool {
    matches!(outcome, Some(Ok(_)))
}

fn registration(
    instance: NewInstance,
    index: usize,
    terms: &Terms,
    owner: &Owner,
) -> Result<Registration, Error> {
    let id = match instance.id {
        Some(id) => id,
        None => assigned_id(index, terms, owner)?,
    };
    let request_id = match terms.request_id.as_str() {
        "" => random_request_id(),
        given => given.to_owned(),
    };
    Ok(Registration {
        key: InstanceKey {
            namespace: instance.namespace,
            service: instance.service,
            id,
        },
        spec: instance.spec,
        takeover: terms.takeover,
        expected_revision: instance.expected_revision,
        request_id,
        actor: terms.actor.clone(),
    })
}

/// The id of an instance that came without one: the same when the same request is repeated.
fn assigned_id(index: usize, terms: &Terms, owner: &Owner) -> Result<InstanceId, Error> {
    let number = match terms.request_id.as_str() {
        "" => rand::random(),
        request => {
            let session = owner
                .session
                .map(|session| session.to_text())
                .unwrap_or_default();
            crate::domain::hash64(format!("{session} {request} {index}"))
        }
    };
    InstanceId::parse(&format!("{number:016x}")).map_err(|error| Error::Internal(error.to_string()))
}

/// Splits what is to be sent so that each part fits into a transaction.
fn groups(steps: Vec<(usize, Txn)>) -> Vec<Vec<(usize, Txn)>> {
    let mut groups: Vec<Vec<_>> = Vec::new();
    let mut bytes = 0;
    for (index, txn) in steps {
        let size: usize = txn.success.iter().map(written).sum();
        match groups.last_mut() {
            Some(group) if bytes + size <= GROUP_BYTES => {
                group.push((index, txn));
                bytes += size;
            }
            _ => {
                groups.push(vec![(index, txn)]);
                bytes = size;
            }
        }
    }
    groups
}

fn written(operation: &Operation) -> usize {
    match operation {
        Operation::Put { key, value, .. } => key.len() + value.len(),
        _ => 0,
    }
}
