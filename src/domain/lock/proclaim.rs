//! What a leader wants everybody to know who looks for it.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    domain::{
        Revised, error::Error, guard::Guard, keyspace::QueuePath, records, revise::Step,
        session_id::SessionId, state::View,
    },
    store::{Compare, Operation, Txn},
};

use super::{Claim, Locks, Waiter};

/// The most bytes that can be proclaimed: every watcher of the election is sent them.
pub const MAX_PROCLAMATION: usize = 4096;

/// What a leader is to proclaim.
#[derive(Debug, Clone)]
pub struct Proclaim {
    /// The election.
    pub election: QueuePath,
    /// The session of the leader; `None`: one that cannot be.
    pub session: Option<SessionId>,
    /// Its term.
    pub term: i64,
    /// What it proclaims.
    pub proclamation: Bytes,
    /// Only while this holds.
    pub guard: Option<Guard>,
}

// === impl Locks ===

impl Locks {
    /// Replaces what the leader of that term proclaims. What is the same already is not written.
    ///
    /// Errors: [`Error::NotLeader`], [`Error::GuardFailed`].
    pub async fn proclaim(&self, proclaim: Proclaim) -> Result<Revised<Claim>, Error> {
        let Proclaim {
            election,
            session,
            term,
            proclamation,
            guard,
        } = &proclaim;
        let name = election.path();
        let decide = |view: &View| {
            let leader = view.state.queue(election).and_then(|queue| queue.holder());
            let mine = |leader: &&Arc<Claim>| {
                leader.waiter.fencing_token() == *term && Some(leader.waiter.session) == *session
            };
            let Some(leader) = leader.filter(mine) else {
                return Err(Error::NotLeader { name: name.clone() });
            };
            let seen = &leader.waiter;
            if seen.proclamation == *proclamation {
                return Ok(Step::Keep(Claim::clone(leader)));
            }
            records::writable(election.to_string(), seen.format)?;
            let waiter = Waiter {
                proclamation: proclamation.clone(),
                ..seen.clone()
            };
            // Whoever led once leads as long as the key stays as it is and no data is lost.
            let txn = Txn::new()
                .when(Compare::mod_revision(seen.key.clone(), seen.mod_revision))
                .when_all(self.core.open_compares(view))
                .then(Operation::overwrite(
                    seen.key.clone(),
                    records::encode_waiter(&waiter),
                ));
            Ok(Step::Send(txn, Claim::held(election.clone(), waiter)))
        };
        let mut proclaimed = self.core.revise(&name, guard.as_ref(), decide).await?;
        if proclaimed.changed {
            proclaimed.value.visible_revision = proclaimed.revision;
        }
        Ok(proclaimed)
    }
}
