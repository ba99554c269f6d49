//! What a registration hangs on: a session that is there, one that comes with it, or nothing.

use std::{sync::Arc, time::Instant};

use crate::domain::{
    error::Error,
    names::InstanceId,
    session::{OpenSession, Opened, Prepared, Session, Unopened},
};

use crate::domain::registry::{
    Registry,
    registration::register::{Liveness, NewInstance, Terms},
};

/// The session behind a registration.
#[derive(Debug, Clone)]
pub struct Support {
    /// The session.
    pub session: Arc<Session>,
    /// Until when it surely lives, if the registration opened it.
    pub valid_until: Option<Instant>,
}

/// What a registration begins with.
pub(super) enum Backing {
    /// No session.
    Nothing,
    /// A session that is there.
    Session(Support),
    /// A session that comes into being together with the instance.
    Unopened(Unopened),
}

// === impl Support ===

impl From<Opened> for Support {
    fn from(opened: Opened) -> Self {
        Self {
            session: opened.session,
            valid_until: Some(opened.valid_until),
        }
    }
}

// === impl Registry ===

impl Registry {
    /// Finds what the instances are to hang on, or prepares it.
    pub(super) async fn backing(
        &self,
        instances: &[NewInstance],
        terms: &Terms,
    ) -> Result<Backing, Error> {
        let open = match &terms.liveness {
            Liveness::Persistent => return Ok(Backing::Nothing),
            Liveness::Session(id) => {
                return Ok(Backing::Session(Support {
                    session: self.sessions.require(*id).await?,
                    valid_until: None,
                }));
            }
            Liveness::Open(open) => OpenSession {
                request_id: opening_request(instances, terms),
                ..open.clone()
            },
        };
        // A batch has outcomes apart, some of which may leave the session without an instance.
        if instances.len() != 1 {
            let opened = self.sessions.open(open, terms.guard.as_ref()).await?;
            return Ok(Backing::Session(opened.into()));
        }
        Ok(match self.sessions.prepare(open).await? {
            Prepared::Found(opened) => Backing::Session(opened.into()),
            Prepared::New(unopened) => Backing::Unopened(unopened),
        })
    }
}

/// The name under which a registration opens its session, so that its repeat finds it again; none
/// if it has none itself, as nobody can repeat it then. What is registered is part of it: a name that
/// two callers happen to choose must not join them.
fn opening_request(instances: &[NewInstance], terms: &Terms) -> String {
    if terms.request_id.is_empty() {
        return String::new();
    }
    let what = |instance: &NewInstance| {
        let id = instance.id.as_ref().map_or("", InstanceId::as_str);
        let (namespace, service) = (&instance.namespace, &instance.service);
        format!("{namespace}/{service}/{id} {}\n", instance.spec.address)
    };
    let what = crate::domain::hash64(instances.iter().map(what).collect::<String>());
    format!("register {what:016x} {}", terms.request_id)
}
