//! Making sure that the store's history is still the one we know.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

use crate::store::{Error, KeyRange, KeyValue, RangeRequest, RangeResponse, Revision, Store};

use super::{
    Lineage, Projection,
    sync::{MIN_BACKOFF, Mirror, jittered},
};

/// The longest pause between two looks: while the history is not confirmed, no lock is granted.
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// A history that has to be confirmed.
struct Doubt<S> {
    lineage: Arc<dyn Lineage<S>>,
    store: Arc<dyn Store>,
    /// A revision that happened in it.
    seen: Revision,
    /// Its witness.
    witness: Option<KeyValue>,
    /// What was published of it last.
    known: Arc<S>,
}

// === impl Mirror ===

impl<P: Projection> Mirror<P> {
    /// The watch broke: its items may be old now, and its store another one.
    pub(super) fn broken(&mut self) {
        self.shared.pulse.broken();
        self.shared.set_unconfirmed(true);
        self.shared.probe_wanted.notify_one();
        self.cut = true;
        // Or it could not say that it is there again.
        self.held = None;
        self.begin_confirming();
    }

    /// The watch is there again, on a store that need not be the one that was confirmed meanwhile.
    pub(super) fn resumed(&mut self) {
        if std::mem::take(&mut self.cut) {
            self.begin_confirming();
            self.hold();
        }
    }

    /// Takes nothing from the watch until its store shows the witness that we know, at a revision
    /// that we have not passed: one read, because the whole confirmation can take as long as a
    /// member that is down lets it.
    fn hold(&mut self) {
        let Some(key) = self.lineage.witness() else {
            return;
        };
        let (store, witness) = (self.store.clone(), self.witness.clone());
        let seen = self.working.as_of;
        self.held = Some(Box::pin(async move {
            let found = store.range(RangeRequest::new(KeyRange::key(key))).await;
            let vouches = found.is_ok_and(|found| {
                found.revision >= seen && same(found.kvs.first(), witness.as_ref())
            });
            if !vouches {
                // The confirmation decides.
                std::future::pending().await
            }
        }));
    }

    /// Goes on with the watch.
    pub(super) fn release(&mut self) {
        self.held = None;
        let now = self.shared.now();
        self.heard(now);
    }

    fn begin_confirming(&mut self) {
        let clock = self.shared.clock.clone();
        let doubt = self.doubt(self.working.as_of);
        self.confirming = Some(Box::pin(async move {
            let mut backoff = MIN_BACKOFF;
            loop {
                match doubt.settle().await {
                    Ok(found) => return found,
                    Err(error) => {
                        tracing::warn!(%error, "the store's history could not be confirmed yet");
                        clock.sleep(jittered(backoff)).await;
                        backoff = (backoff * 2).min(MAX_PAUSE);
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
        let (known, found) = (self.witness.as_ref(), answer.kvs.first());
        let (known_at, found_at) = (written(known), written(found));
        // A difference means something only where both have looked: what came after the read is
        // not in it, and what comes later than we are will still come. Two histories may begin at
        // the same revision.
        !same(known, found)
            && found_at <= self.working.revision
            && known_at <= answer.revision
            && (found_at > 0 || answer.revision <= self.working.revision)
    }

    /// Waits until the history is confirmed.
    pub(super) async fn confirm(&mut self, seen: Revision) {
        let doubt = self.doubt(seen);
        while let Err(error) = doubt.settle().await {
            self.pause("the store's history cannot be confirmed", &error)
                .await;
        }
    }

    fn doubt(&self, seen: Revision) -> Doubt<P::State> {
        let published = self.shared.published();
        Doubt {
            lineage: self.lineage.clone(),
            store: self.store.clone(),
            seen,
            witness: self.witness.clone(),
            known: published.map_or_else(Arc::default, |published| published.state.clone()),
        }
    }
}

// === impl Doubt ===

impl<S: Send + Sync + 'static> Doubt<S> {
    /// Confirms the history, and reads the witness again.
    async fn settle(&self) -> Result<Option<RangeResponse>, Error> {
        let Some(key) = self.lineage.witness() else {
            self.lineage.confirm(self.seen, &self.known).await?;
            return Ok(None);
        };
        let witness = RangeRequest::new(KeyRange::key(key));
        let found = self.store.range(witness.clone()).await?;
        // Rewritten: somebody has begun a new history already, in which `seen` means nothing.
        let seen = if same(found.kvs.first(), self.witness.as_ref()) {
            self.seen
        } else {
            0
        };
        self.lineage.confirm(seen, &self.known).await?;
        self.store.range(witness).await.map(Some)
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

/// Completes when the store has shown the witness, if that is waited for.
pub(super) async fn vouched(held: &mut Option<BoxFuture<'static, ()>>) {
    match held {
        Some(looking) => looking.await,
        None => std::future::pending().await,
    }
}

/// When a key was written; `0`: it is not there.
fn written(kv: Option<&KeyValue>) -> Revision {
    kv.map_or(0, |kv| kv.mod_revision)
}

/// Says whether two looks at the witness saw the same.
fn same(one: Option<&KeyValue>, other: Option<&KeyValue>) -> bool {
    let looks = |kv: Option<&KeyValue>| kv.map(|kv| (kv.mod_revision, kv.value.clone()));
    looks(one) == looks(other)
}
