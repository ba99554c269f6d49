//! Whether a leader still leads. A renewal changes the memory of the leader alone, and one that was
//! deposed without noticing, because its process hung, answers renewals that count for nothing.
//!
//! A linearizable read asks a majority: had a leader of a later term been elected before the read
//! began, the answer would be of that term. One elected since gives every lease its full time to
//! live. So what a leader of the answer's term, or of a later one, says of a lease holds from when
//! the read began on.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::{
    sync::{Notify, watch},
    time::sleep_until,
};
use tokio_util::sync::CancellationToken;

use super::{
    kv,
    pool::{Pool, Prefer},
};
use crate::clock::Clock;

/// How soon after a read the next one may begin: all that is answered meanwhile shares it.
const GATHER: Duration = Duration::from_millis(5);
/// How long a read may stay unanswered until another one begins, elsewhere if possible.
const HEDGE: Duration = Duration::from_millis(500);
/// How long a read may take. More than calls may: a slow majority proves its leader all the same.
const READ_TIMEOUT: Duration = Duration::from_secs(4);
/// How long what a leader says waits for a proof. Then it counts from the last proof there is.
pub(super) const WAIT: Duration = Duration::from_millis(300);

/// What is known of who leads.
#[derive(Clone)]
pub(super) struct Leadership {
    wanted: Arc<Notify>,
    proven: watch::Receiver<Option<Proof>>,
}

/// At `at`, no leader of a later term than `term` had been elected.
#[derive(Debug, Clone, Copy)]
struct Proof {
    at: Instant,
    term: u64,
}

/// What an answer in some term to a request sent at some time comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It holds, as if the request had been sent at this time, which is not later than it was.
    From(Instant),
    /// A proof may still come.
    Open,
    /// It came from a leader that had been deposed, or too long ago to know.
    Deposed,
}

// === impl Leadership ===

impl Leadership {
    pub(super) fn spawn(
        pool: &Arc<Pool>,
        clock: &Arc<dyn Clock>,
        stop: &CancellationToken,
    ) -> Self {
        let wanted = Arc::default();
        let (sender, proven) = watch::channel(None);
        let prove = prove(
            Arc::clone(pool),
            Arc::clone(clock),
            Arc::clone(&wanted),
            sender,
        );
        tokio::spawn(stop.clone().run_until_cancelled_owned(prove));
        Self { wanted, proven }
    }

    /// Has a proof made that covers everything sent before this call.
    pub(super) fn prove(&self) {
        self.wanted.notify_one();
    }

    /// Completes with the next proof; never when there will be none.
    pub(super) async fn proven(&mut self) {
        if self.proven.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// Judges an answer in `term` to what was sent at `sent`; `waited` when it has waited for long
    /// enough.
    pub(super) fn judge(&self, term: u64, sent: Instant, waited: bool) -> Standing {
        judge(*self.proven.borrow(), term, sent, waited)
    }
}

fn judge(proof: Option<Proof>, term: u64, sent: Instant, waited: bool) -> Standing {
    match proof {
        Some(proof) if proof.term > term => Standing::Deposed,
        Some(proof) if proof.at >= sent => Standing::From(sent),
        Some(proof) if waited => Standing::From(proof.at),
        None if waited => Standing::Deposed,
        _ => Standing::Open,
    }
}

/// Reads when somebody wants to know, and keeps the newest proof.
async fn prove(
    pool: Arc<Pool>,
    clock: Arc<dyn Clock>,
    wanted: Arc<Notify>,
    proven: watch::Sender<Option<Proof>>,
) {
    let mut reads = FuturesUnordered::new();
    let mut asked = false;
    let mut next = tokio::time::Instant::now();
    loop {
        tokio::select! {
            () = wanted.notified(), if !asked => asked = true,
            () = sleep_until(next), if asked => {
                asked = false;
                // Noted before it is sent, so that it cannot prove more than it does.
                let (at, begun) = (clock.now(), tokio::time::Instant::now());
                next = begun + HEDGE;
                let members = pool.ranked(&Prefer::Leader);
                let Some(member) = members.get(reads.len() % members.len().max(1)).cloned() else {
                    return;
                };
                let key = &pool.settings.any_key;
                reads.push(async move { (at, begun, kv::term(&member, key, READ_TIMEOUT).await) });
            }
            Some((at, begun, answer)) = reads.next() => match answer {
                Ok(term) => {
                    next = next.min(begun + GATHER);
                    proven.send_modify(|last| {
                        let newest = last.unwrap_or(Proof { at, term });
                        *last = Some(Proof {
                            at: newest.at.max(at),
                            term: newest.term.max(term),
                        });
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "nobody knows who leads");
                    asked = true;
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_leader_says_holds_from_when_it_was_proven_to_lead_and_no_sooner_than_it_was_asked() {
        let sent = Instant::now();
        let (before, after) = (sent - WAIT, sent + WAIT);
        let proof = |at, term| Some(Proof { at, term });
        assert_eq!(judge(proof(after, 7), 7, sent, false), Standing::From(sent));
        assert_eq!(judge(proof(before, 7), 7, sent, false), Standing::Open);
        assert_eq!(
            judge(proof(before, 7), 7, sent, true),
            Standing::From(before)
        );
    }

    #[test]
    fn an_answer_of_an_earlier_term_than_is_proven_is_of_a_deposed_leader() {
        let sent = Instant::now();
        for at in [sent - WAIT, sent, sent + WAIT] {
            let proof = Some(Proof { at, term: 8 });
            assert_eq!(judge(proof, 7, sent, false), Standing::Deposed);
            // A leader elected since the read began.
            assert_ne!(judge(proof, 9, sent, false), Standing::Deposed);
        }
    }

    #[test]
    fn without_any_proof_nothing_holds() {
        let sent = Instant::now();
        assert_eq!(judge(None, 7, sent, false), Standing::Open);
        assert_eq!(judge(None, 7, sent, true), Standing::Deposed);
    }
}
