//! Group commit: transactions that have nothing to do with each other and come at about the same
//! time go to the store as one.
//!
//! Every request to the store costs the same again on the way, in its log and in its watches, so
//! that in a storm of small writes this is most of what they cost. Nobody waits for others to come:
//! whoever comes while few are on their way goes at once, and who has to wait goes with whoever
//! else does, or has come but was not heard yet: among 32 who take locks, that saves nearly a third of
//! the CPU.
//!
//! A group is one transaction with each member nested in it, compares included, so that a member
//! whose conditions do not hold stops nobody. All compares of a group are made before anything is
//! written: members may therefore not touch what another one writes. They share a revision: where
//! that tells an order, as among the places of a queue, a member says which keys it has to itself.
//! Whoever would clash with another goes alone, at the same time.
//!
//! The cache shows what a group did all at once, which one task waits for on behalf of all who wait
//! for that: each member on its own would cost a place in a queue, two timers and a wake-up.
//!
//! While the store is away nobody waits for the failure of another: whoever waited for a flight
//! that failed goes alone at once, and has as long as if it had not waited.

mod member;
mod queue;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::join_all;
use tokio::{sync::oneshot, task::yield_now};

use crate::store::{self, KeyRange, Operation, OperationResponse, Outcome, Txn, TxnResponse};

use self::{
    member::{Answer, Member},
    queue::{Flight, Joined, Queue},
};
use super::{Core, commit::Sent, error::Error};

/// The transactions that wait to go together.
#[derive(Default)]
pub(super) struct Group(Mutex<Queue>);

/// Members whose transactions were not carried out together.
struct Failed {
    members: Vec<Member>,
    /// Which says if they may have been, all the same.
    error: store::Error,
}

// === impl Group ===

impl Group {
    /// Like [`Core::commit`], without a guard, for a transaction that may share its revision with
    /// others, but with none that has the range `apart` to itself as well.
    pub(super) async fn commit(
        self: &Arc<Self>,
        core: &Arc<Core>,
        txn: Txn,
        apart: Option<KeyRange>,
    ) -> Result<TxnResponse, Error> {
        let Answer { response, shown } = self.go(core, txn, apart, true).await?;
        if !shown {
            core.show(&response).await;
        }
        Ok(response)
    }

    /// The same, for one that does not wait until the cache shows what it did.
    pub(super) async fn write(
        self: &Arc<Self>,
        core: &Arc<Core>,
        txn: Txn,
        apart: Option<KeyRange>,
    ) -> Result<TxnResponse, Error> {
        let answer = self.go(core, txn, apart, false).await?;
        Ok(answer.response)
    }

    async fn go(
        self: &Arc<Self>,
        core: &Arc<Core>,
        txn: Txn,
        apart: Option<KeyRange>,
        awaits_show: bool,
    ) -> Result<Answer, Error> {
        txn.check_size()?;
        let (answer, answered) = oneshot::channel();
        let deadline = core.clock.now() + core.settings.commit_timeout;
        let alone = |sent: Sent| Answer::new(sent.response);
        let member = match Member::new(txn, apart, deadline, awaits_show, answer) {
            Ok(member) => member,
            Err(txn) => return core.send(txn).await.map(alone),
        };
        let joined = self.queue().join(member);
        match joined {
            Joined::Waits => {}
            // Apart from the caller, who may give up, which is nothing to the others.
            Joined::Flies(flight) => {
                tokio::spawn(self.clone().fly(core.clone(), flight));
            }
            Joined::Full(txn) => return core.send(txn).await.map(alone),
        }
        let gone = |_| Err(Error::CommitUnknown("this replica is stopping".into()));
        answered.await.unwrap_or_else(gone)
    }

    async fn fly(self: Arc<Self>, core: Arc<Core>, flight: Flight) {
        let mut next = Some(flight);
        while let Some(flight) = next {
            if !flight.alone.is_empty() {
                tokio::spawn(alone(core.clone(), flight.alone, None));
            }
            let flew = flight.together.len();
            if let Err(Failed { members, error }) = together(&core, flight.together).await {
                // Nobody waits for the failure of others.
                tokio::spawn(alone(core.clone(), members, Some(error)));
                tokio::spawn(alone(core.clone(), self.queue().scatter(), None));
            }
            if flew > 1 {
                // In a storm the requests of others have arrived by now: their connections read
                // them in the first round, and their calls run in the second.
                yield_now().await;
                yield_now().await;
            }
            next = self.queue().land();
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends members as one, once.
async fn together(core: &Arc<Core>, mut members: Vec<Member>) -> Result<(), Failed> {
    // The first one has waited longest.
    let Some(deadline) = members.first().map(|member| member.deadline) else {
        return Ok(());
    };
    let txn = match members.as_slice() {
        [one] => one.txn.clone(),
        members => {
            let nested = members.iter().map(|member| member.txn.clone());
            nested.fold(Txn::new(), |all, txn| all.then(Operation::Txn(txn)))
        }
    };
    let error = match core.attempt(txn, deadline).await {
        Ok(response) if members.len() == 1 => {
            members.remove(0).tell(Ok(Answer::new(response)));
            return Ok(());
        }
        Ok(response) if response.responses.len() == members.len() => {
            // The next group need not wait for the cache.
            tokio::spawn(answer(core.clone(), members, response));
            return Ok(());
        }
        Ok(_) => store::Error::Unavailable {
            message: "the store answered a part of a group".to_owned(),
            outcome: Outcome::Unknown,
        },
        Err(error) if is_final(&error) && members.len() == 1 => {
            members.remove(0).tell(Err(error.into()));
            return Ok(());
        }
        // What stops one (its lease is gone) stops all of them: each goes on by itself.
        Err(error) => {
            tracing::debug!(%error, "a group of transactions is sent one by one");
            error
        }
    };
    Err(Failed { members, error })
}

/// Whether nothing is to be found out any more.
fn is_final(error: &store::Error) -> bool {
    !error.is_transient() && error.outcome() == Outcome::NotDone
}

/// Tells each member what came of it, those who wait for that once the cache shows what they did.
async fn answer(core: Arc<Core>, members: Vec<Member>, response: TxnResponse) {
    let revision = response.revision;
    let mut later = Vec::new();
    for (member, nested) in members.into_iter().zip(response.responses) {
        let OperationResponse::Txn(nested) = nested else {
            continue;
        };
        let response = TxnResponse { revision, ..nested };
        if response.succeeded && member.awaits_show {
            later.push((member, response));
        } else {
            member.tell(Ok(Answer::new(response)));
        }
    }
    if let Some((_, first)) = later.first() {
        core.show(first).await;
    }
    for (member, response) in later {
        member.tell(Ok(Answer {
            response,
            shown: true,
        }));
    }
}

/// Sends members one by one, all at the same time; an earlier attempt may have `failed`.
async fn alone(core: Arc<Core>, members: Vec<Member>, failed: Option<store::Error>) {
    let (core, failed) = (&core, &failed);
    let sent = members.into_iter().map(|mut member| async move {
        let txn = std::mem::take(&mut member.txn);
        tokio::select! {
            sent = core.send_again(txn, failed.clone(), member.deadline) => {
                member.tell(sent.map(|sent| Answer::new(sent.response)));
            }
            // Nobody waits for it any more.
            () = member.answer.closed() => {}
        }
    });
    join_all(sent).await;
}
