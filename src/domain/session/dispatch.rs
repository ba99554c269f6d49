//! The one task per replica that sees what sessions lose, in the order in which it happens.

use std::collections::BTreeSet;

use tokio_util::sync::CancellationToken;

use crate::{
    cache::{Change, Followed},
    domain::{
        Error,
        session_id::SessionId,
        state::{Item, Kind, Owned, State, StateProjection},
    },
    store::Revision,
};

use super::{
    Sessions,
    loss::{self, LockLost, Loss, Lost, SessionLost},
};

const KINDS: [usize; 4] = [
    Kind::Session as usize,
    Kind::Instance as usize,
    Kind::Lock as usize,
    Kind::Candidate as usize,
];

// === impl Sessions ===

impl Sessions {
    /// Tells losses until told to stop, or until the cache ends.
    pub(super) async fn dispatch(&self, stop: CancellationToken) -> Result<(), Error> {
        let mut follower = self.core.cache.follow(&KINDS)?;
        let mut known = self.core.cache.view()?.state;
        loop {
            let followed = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                followed = follower.next() => followed,
            };
            match followed {
                Some(Followed::Changes {
                    changes,
                    view,
                    left_out,
                }) => {
                    for change in &changes {
                        self.tell_change(change, &view.state);
                    }
                    if left_out {
                        self.tell_unseen(follower.told(), &view.state, &LockLost::Removed);
                    }
                    known = view.state;
                }
                Some(Followed::Behind(view)) => {
                    tracing::warn!(
                        revision = view.revision,
                        "what sessions lost is found by comparing: the changes are not known"
                    );
                    self.tell_difference(&known, &view.state, follower.told());
                    known = view.state;
                }
                None => return Ok(()),
            }
        }
    }

    fn tell_change(&self, change: &Change<StateProjection>, state: &State) {
        for item in [&change.before, &change.after].into_iter().flatten() {
            if let Item::Claim(claim) = item {
                self.unshown.seen(claim);
            }
        }
        if let (Some(Item::Session(session)), None) = (&change.before, &change.after) {
            self.tell_session(session.id, None);
            return;
        }
        if let Some(wanted) = loss::wanted(change) {
            return self.notices.tell(wanted);
        }
        let Some((owned, loss)) = loss::of_change(change, state) else {
            return;
        };
        self.tell_unless_left(owned, loss, state);
    }

    fn tell_unless_left(&self, owned: Owned, loss: Loss, state: &State) {
        let left = self
            .notices
            .has_left(loss.session, owned, self.core.clock.now());
        // With its session a thing goes without a word of its own.
        if !left && state.sessions.contains_key(&loss.session) {
            self.notices.tell(loss);
        }
    }

    fn tell_difference(&self, before: &State, after: &State, told: Revision) {
        let (gone, cause) = if before.epoch.id == after.epoch.id {
            (None, LockLost::Removed)
        } else {
            (Some(SessionLost::EpochChanged), LockLost::EpochChanged)
        };
        let sessions: BTreeSet<SessionId> = before
            .sessions
            .keys()
            .chain(before.owned.keys())
            .copied()
            .collect();
        for session in sessions {
            if !after.sessions.contains_key(&session) {
                self.tell_session(session, gone);
                continue;
            }
            for (owned, loss) in loss::of_session(session, before, after, &cause) {
                self.tell_unless_left(owned, loss, after);
            }
            let known: Vec<_> = loss::all_wanted(session, before).collect();
            for wanted in loss::all_wanted(session, after) {
                if !known.contains(&wanted) {
                    self.notices.tell(wanted);
                }
            }
        }
        self.tell_unseen(told, after, &cause);
    }

    /// Tells who lost a lock that was granted and that no change has shown.
    fn tell_unseen(&self, told: Revision, state: &State, cause: &LockLost) {
        for claim in self.unshown.take_unseen(told, state) {
            if let Some((owned, loss)) = loss::of_holder(&claim, state, cause) {
                self.tell_unless_left(owned, loss, state);
            }
        }
    }

    /// Tells that a session is gone. A session that ends before its lease can have expired was
    /// closed, by whichever replica.
    fn tell_session(&self, session: SessionId, reason: Option<SessionLost>) {
        let early = self.renewals.ended(&session);
        let reason = reason.unwrap_or(if early {
            SessionLost::Closed
        } else {
            SessionLost::Expired
        });
        self.notices.tell(Loss {
            session,
            what: Lost::Session(reason),
        });
    }
}
