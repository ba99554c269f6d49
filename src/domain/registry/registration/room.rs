//! What there is no room for: a session carries so many instances, a namespace has quotas, and an
//! alias has no instances of its own.

use crate::domain::{
    error::Error,
    namespace::{Newcomer, Room},
    session_id::SessionId,
    state::{Owned, View},
};

use crate::domain::registry::{
    Registry,
    registration::claim::{Owner, Registration},
    registration::register::Outcome,
};

// === impl Registry ===

impl Registry {
    /// The outcomes of what the session, or a namespace, has no room for.
    pub(super) fn without_room(
        &self,
        wanted: &[Registration],
        owner: &Owner,
        view: &View,
    ) -> Vec<Option<Outcome>> {
        let mut outcomes = match &owner.session {
            Some(session) => self.beyond_session(wanted, session, view),
            None => vec![None; wanted.len()],
        };
        under_alias(wanted, view, &mut outcomes);
        over_quota(wanted, owner, view, &mut outcomes);
        outcomes
    }

    fn beyond_session(
        &self,
        wanted: &[Registration],
        session: &SessionId,
        view: &View,
    ) -> Vec<Option<Outcome>> {
        let owned = view.state.owned.get(session);
        let mut more = 0;
        let refused = |wanted: &Registration| {
            let item = Owned::Instance(wanted.key.path().into());
            if owned.is_some_and(|owned| owned.contains(&item)) {
                return None;
            }
            more += 1;
            let room = self.sessions.check_room(view, session, more);
            room.err().map(|error| {
                more -= 1;
                Err(error)
            })
        };
        wanted.iter().map(refused).collect()
    }
}

/// Adds the outcomes of what nobody would find.
fn under_alias(wanted: &[Registration], view: &View, outcomes: &mut [Option<Outcome>]) {
    if view.state.routes.is_empty() {
        return;
    }
    for (wanted, outcome) in wanted.iter().zip(outcomes) {
        let name = wanted.key.service_key().path();
        if view.state.routes.contains_key(name.as_bytes()) {
            *outcome = Some(Err(Error::ServiceIsAlias { name }));
        }
    }
}

/// Adds the outcomes of what the namespaces have no room for.
fn over_quota(
    wanted: &[Registration],
    owner: &Owner,
    view: &View,
    outcomes: &mut [Option<Outcome>],
) {
    // Spares the lookups where nobody sets anything.
    if view.state.namespaces.is_empty() {
        return;
    }
    let mut room = Room::of(&view.state);
    for (wanted, outcome) in wanted.iter().zip(outcomes) {
        let newcomer = Newcomer {
            key: &wanted.key,
            session: owner.session,
        };
        if outcome.is_none()
            && let Err(error) = room.let_in(&newcomer)
        {
            *outcome = Some(Err(error));
        }
    }
}
