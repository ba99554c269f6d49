//! What etcd answered to a renewal, until it is known whether that holds.

use std::time::Duration;

use etcd_client::proto::PbLeaseKeepAliveResponse;
use tokio::time::Instant;

use super::leadership::{Leadership, Standing, WAIT};
use crate::{
    clock::Clock,
    store::{Error, LeaseId, Outcome, Renewal},
};

pub(super) struct Answer {
    pub(super) id: LeaseId,
    /// Zero: there is no such lease.
    ttl: Duration,
    /// The raft term of the member that answered.
    term: u64,
    /// How long a proof is waited for.
    pub(super) until: Instant,
}

/// What an answer comes to.
pub(super) enum Verdict {
    /// It cannot be told yet.
    Open,
    /// This.
    Holds(Result<Renewal, Error>),
    /// Nothing, for this reason: another leader has to be asked.
    Void(Error),
}

// === impl Answer ===

impl Answer {
    pub(super) fn new(answer: &PbLeaseKeepAliveResponse) -> Self {
        Self {
            id: answer.id,
            ttl: Duration::from_secs(u64::try_from(answer.ttl).unwrap_or(0)),
            term: answer.header.as_ref().map_or(0, |header| header.raft_term),
            until: Instant::now() + WAIT,
        }
    }

    /// Judges it as the answer to what was sent at `sent`.
    pub(super) fn verdict(
        &self,
        leadership: &Leadership,
        clock: &dyn Clock,
        sent: std::time::Instant,
    ) -> Verdict {
        let ttl = self.ttl;
        match leadership.judge(self.term, sent, self.until <= Instant::now()) {
            Standing::Open => Verdict::Open,
            Standing::From(from) if from + ttl > clock.now() => {
                Verdict::Holds(Ok(Renewal { ttl, sent: from }))
            }
            // Whoever led before may not have heard of the lease.
            Standing::From(from) if ttl.is_zero() && from == sent => {
                Verdict::Holds(Err(Error::LeaseNotFound))
            }
            Standing::From(_) | Standing::Deposed => Verdict::Void(Error::NoQuorum {
                message: "a leader that may be deposed answered".to_owned(),
                outcome: Outcome::Unknown,
            }),
        }
    }
}
