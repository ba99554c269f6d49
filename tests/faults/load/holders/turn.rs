//! Turns: to claim, to count, to give up; and what goes wrong in some of them.

use std::time::Duration;

use stanchion_client::{Session, new_request_id};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::{
    Holder, PAUSE,
    belief::Belief,
    claim::{GiveUp, Owner, Want, Which},
};
use crate::{
    harness::Proxy,
    load::{
        asking::{Answer, ask},
        sessions::TTL,
    },
    lock_history::{Event, News},
};

/// How long a client waits in a queue.
pub(super) const WAIT: Duration = Duration::from_secs(2);
/// How long it waits for an answer.
pub(super) const ANSWER: Duration = Duration::from_secs(3);
/// How many turns a client takes before it is cut off, if it is one of those.
pub(super) const UNTIL_PAUSE: usize = 12;
/// For how long it is.
const CUT_OFF: Duration = TTL.saturating_add(Duration::from_secs(2));
/// How often a holder counts before it lets go.
pub(super) const INCREMENTS: usize = 3;
/// After how many turns a client tries to count with a token that is gone.
const UNTIL_STALE: usize = 3;
/// After how many turns in vain a client gives up what it abandoned: the replica may have died that
/// ought to have done so, and then the claim lives as long as the session.
const IN_VAIN: usize = 3;

/// A claim that nobody comes back to.
pub(super) struct Abandoned {
    claim: GiveUp,
    /// How many turns were in vain since.
    turns: usize,
}

// === impl Holder ===

impl Holder {
    pub(super) async fn run(self, stop: CancellationToken) -> Self {
        for turn in 1.. {
            if stop.is_cancelled() {
                break;
            }
            if self.turn(turn).await.is_none() {
                self.not_granted();
                sleep(PAUSE).await;
            }
        }
        self
    }

    /// One turn under the lock, if it gets there.
    async fn turn(&self, turn: usize) -> Option<()> {
        let left = self.left.lock().unwrap().clone();
        if let Some(left) = left {
            self.give_up(left).await?;
        }
        let session = self.client.session().await.ok()?;
        let want = self.want(turn);
        let token = match self.streams() {
            true => self.by_stream(&session, &want, turn).await?,
            false => self.by_call(&session, &want, turn).await?,
        };
        *self.abandoned.lock().unwrap() = None;
        if turn.is_multiple_of(UNTIL_STALE) {
            self.increment(&want, token, true, None).await;
        }
        Some(())
    }

    /// Holds it between two calls. Answers a token that is gone.
    async fn by_call(&self, session: &Session, want: &Want, turn: usize) -> Option<i64> {
        let token = self.acquire(session, want).await?;
        let mut belief = Belief::begin(self, session, token);
        if !self.links.is_empty() && turn.is_multiple_of(UNTIL_PAUSE) {
            self.cut_off().await;
        }
        let mut seen = None;
        for _ in 0..INCREMENTS {
            seen = self.increment(want, token, false, seen).await;
            belief.renew(self, session);
        }
        belief.end(self, session);
        let freed = self.give_up(self.claimed(session, want, token)).await?;
        self.released(token, freed);
        Some(token)
    }

    pub(super) async fn cut_off(&self) {
        self.links.iter().for_each(Proxy::black_hole);
        sleep(CUT_OFF).await;
        self.links.iter().for_each(Proxy::heal);
    }

    async fn acquire(&self, session: &Session, want: &Want) -> Option<i64> {
        let owner = Owner::new(session, &new_request_id());
        let call = |channel: Channel| want.clone().acquire(channel, owner.clone(), WAIT);
        let granted = match ask(&self.channels, WAIT + ANSWER, call).await {
            Answer::Said { answer, .. } => answer,
            Answer::Refused { .. } => return None,
            Answer::Unknown => {
                *self.left.lock().unwrap() = Some(GiveUp {
                    want: want.clone(),
                    session_id: owner.session_id,
                    which: Which::Request(owner.request_id),
                    stream: None,
                });
                return None;
            }
        };
        self.told.tell(Event::Granted {
            client: self.number,
            lock: self.lock.clone(),
            token: granted.token,
            revision: granted.revision,
        });
        Some(granted.token)
    }

    /// Leaves a claim to itself.
    pub(super) fn abandon(&self, claim: GiveUp) {
        *self.abandoned.lock().unwrap() = Some(Abandoned { claim, turns: 0 });
    }

    /// A turn was in vain. What it abandoned may be in its way.
    fn not_granted(&self) {
        let mut abandoned = self.abandoned.lock().unwrap();
        if let Some(claim) = &mut *abandoned {
            claim.turns += 1;
        }
        if let Some(done) = abandoned.take_if(|claim| claim.turns > IN_VAIN) {
            *self.left.lock().unwrap() = Some(done.claim);
        }
    }

    pub(super) fn claimed(&self, session: &Session, want: &Want, token: i64) -> GiveUp {
        GiveUp {
            want: want.clone(),
            session_id: session.id().into(),
            which: Which::Token(token),
            stream: None,
        }
    }

    /// Gives a claim up, now or before the next turn; says whether this freed it.
    pub(super) async fn give_up(&self, claim: GiveUp) -> Option<bool> {
        *self.left.lock().unwrap() = Some(claim.clone());
        if let Some(numbers) = claim.stream {
            self.hear(numbers, News::Releases);
        }
        let call = |channel: Channel| claim.clone().send(channel);
        let freed = match ask(&self.channels, ANSWER, call).await {
            // Gone it is, whoever removed it; what is not ours is gone too.
            Answer::Said { answer, .. } => answer,
            Answer::Refused { .. } => false,
            Answer::Unknown => return None,
        };
        *self.left.lock().unwrap() = None;
        Some(freed)
    }

    pub(super) fn released(&self, token: i64, freed: bool) {
        self.told.tell(Event::Released {
            client: self.number,
            lock: self.lock.clone(),
            token,
            freed: Some(freed),
        });
    }
}
