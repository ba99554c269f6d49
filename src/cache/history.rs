//! Making sure that the store's history is still the one we know.

use futures_util::future::BoxFuture;

use crate::store::{Error, KeyRange, RangeRequest, RangeResponse, Revision, Store};

use super::{
    Lineage, Projection,
    sync::{MAX_BACKOFF, MIN_BACKOFF, Mirror, jittered},
};

// === impl Mirror ===

impl<P: Projection> Mirror<P> {
    /// The watch broke: its items may be old now, and its store another one.
    pub(super) fn broken(&mut self) {
        self.shared.pulse.broken();
        self.shared.probe_wanted.notify_one();
        let lineage = self.lineage.clone();
        let store = self.store.clone();
        let clock = self.shared.clock.clone();
        let seen = self.working.revision;
        let known = self.known_witness();
        self.confirming = Some(Box::pin(async move {
            let mut backoff = MIN_BACKOFF;
            loop {
                match confirm(lineage.as_ref(), store.as_ref(), seen, known).await {
                    Ok(found) => return found,
                    Err(error) => {
                        tracing::warn!(%error, "the store's history could not be confirmed yet");
                        clock.sleep(jittered(backoff)).await;
                        backoff = (backoff * 2).min(MAX_BACKOFF);
                    }
                }
            }
        }));
    }

    /// Says whether the witness, as the store has it, cannot be of the history we know.
    pub(super) fn contradicts(&self, witness: Option<RangeResponse>) -> bool {
        let Some(answer) = witness else {
            return false;
        };
        let known = self.known_witness();
        let found = written(&answer);
        // A difference means something only where both have looked: what came after the read is
        // not in it, and what comes later than we are will still come.
        found != known
            && found <= self.working.revision
            && known <= answer.revision
            && (found > 0 || answer.revision <= self.working.revision)
    }

    /// When the witness was last written, as far as we know; `0`: never.
    fn known_witness(&self) -> Revision {
        let key = self.lineage.witness();
        key.and_then(|key| self.known.get(&key))
            .map_or(0, |known| known.1)
    }

    /// Waits until the history is confirmed.
    pub(super) async fn confirm(&mut self, seen: Revision) {
        let known = self.known_witness();
        while let Err(error) =
            confirm(self.lineage.as_ref(), self.store.as_ref(), seen, known).await
        {
            self.pause("the store's history cannot be confirmed", &error)
                .await;
        }
    }
}

/// Completes with what the confirmation found, if one runs.
pub(super) async fn confirmed(
    confirming: &mut Option<BoxFuture<'static, Option<RangeResponse>>>,
) -> Option<RangeResponse> {
    let Some(running) = confirming else {
        return std::future::pending().await;
    };
    let found = running.await;
    *confirming = None;
    found
}

/// Confirms the history in which `seen` happened and the witness was written at `known`, and reads
/// the witness again.
async fn confirm(
    lineage: &dyn Lineage,
    store: &dyn Store,
    seen: Revision,
    known: Revision,
) -> Result<Option<RangeResponse>, Error> {
    let Some(key) = lineage.witness() else {
        lineage.confirm(seen).await?;
        return Ok(None);
    };
    let witness = RangeRequest::new(KeyRange::key(key)).keys_only();
    // Rewritten: somebody has begun a new history already, in which `seen` means nothing.
    let seen = if written(&store.range(witness.clone()).await?) == known {
        seen
    } else {
        0
    };
    lineage.confirm(seen).await?;
    store.range(witness).await.map(Some)
}

/// When the one key of an answer was written; `0`: it is not there.
fn written(answer: &RangeResponse) -> Revision {
    answer.kvs.first().map_or(0, |kv| kv.mod_revision)
}
