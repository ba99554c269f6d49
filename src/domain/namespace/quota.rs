//! Quotas: how much more may come into a namespace.
//!
//! They are looked at in this replica's copy of the state, so that registrations which are under
//! way at the same moment may together exceed one. What is there already stays.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::domain::{
    error::Error, keyspace::InstanceKey, names::Namespace, session_id::SessionId, state::State,
};

use super::Quotas;

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// Instances.
    Instances,
    /// Services.
    Services,
    /// Sessions that have something in the namespace.
    Sessions,
}

/// What wants to come into a namespace.
pub(in crate::domain) struct Newcomer<'a> {
    /// The instance.
    pub key: &'a InstanceKey,
    /// The session it is to hang on.
    pub session: Option<SessionId>,
}

/// How much room there is, less what was let in since the state was looked at.
pub(in crate::domain) struct Room<'a> {
    state: &'a State,
    taken: BTreeMap<Namespace, Taken>,
}

/// What was let in.
#[derive(Default)]
struct Taken {
    instances: usize,
    services: BTreeSet<Bytes>,
    sessions: BTreeSet<SessionId>,
}

// === impl Room ===

impl<'a> Room<'a> {
    /// The room that a state shows.
    pub(in crate::domain) fn of(state: &'a State) -> Self {
        Self {
            state,
            taken: BTreeMap::new(),
        }
    }

    /// Lets an instance in. One that replaces another takes its place.
    ///
    /// Errors: [`Error::QuotaExceeded`].
    pub(in crate::domain) fn let_in(&mut self, newcomer: &Newcomer<'_>) -> Result<(), Error> {
        let namespace = &newcomer.key.namespace;
        let Some(settings) = self.state.namespaces.get(namespace) else {
            return Ok(());
        };
        let Quotas {
            instances,
            services,
            sessions,
        } = settings.quotas;
        let usage = self.state.usage_of(namespace).cloned().unwrap_or_default();
        let path = newcomer.key.path();
        let service = Bytes::from(newcomer.key.service_key().path());
        let former = self.state.instances.get(path.as_bytes());
        let taken = self.taken.entry(namespace.clone()).or_default();

        let new_instance = former.is_none();
        let new_service =
            !self.state.services.contains_key(&service) && !taken.services.contains(&service);
        let new_session = newcomer
            .session
            .filter(|session| usage.of_session(*session) == 0 && !taken.sessions.contains(session));
        // The session of the former registration, if that was all it had here.
        let freed = former
            .and_then(|former| former.record.session)
            .filter(|session| Some(*session) != newcomer.session)
            .filter(|session| self.state.sessions.contains_key(session))
            .is_some_and(|session| usage.of_session(session) == 1);

        for (quota, comes, current, limit) in [
            (
                Quota::Instances,
                new_instance,
                usage.instances + taken.instances,
                instances,
            ),
            (
                Quota::Services,
                new_service,
                usage.services + taken.services.len(),
                services,
            ),
            (
                Quota::Sessions,
                new_session.is_some() && !freed,
                usage.sessions + taken.sessions.len(),
                sessions,
            ),
        ] {
            if let Some(limit) = limit.filter(|limit| comes && current >= *limit as usize) {
                return Err(Error::QuotaExceeded {
                    namespace: namespace.to_string(),
                    quota,
                    limit,
                    current,
                });
            }
        }
        taken.instances += usize::from(new_instance);
        taken.services.extend(new_service.then_some(service));
        taken.sessions.extend(new_session.filter(|_| !freed));
        Ok(())
    }
}

// === impl Quota ===

impl std::fmt::Display for Quota {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Instances => "instances",
            Self::Services => "services",
            Self::Sessions => "sessions",
        })
    }
}
