//! How the copy begins: in the past, so that cursors that stand there can go on.

use crate::store::{Error, Revision, Watch, WatchItem};

use super::{
    Projection,
    listing::{Listing, current_revision, ended, list_at, list_now, oldest_revision},
    sync::Mirror,
};

/// How often the first listing is tried in the past, each time at a revision learnt anew, before
/// it is taken as of now.
const PAST_ATTEMPTS: usize = 3;

// === impl Mirror ===

impl<P: Projection> Mirror<P> {
    /// Lists as far in the past as old cursors may stand, and catches up to now. Ready after that.
    pub(super) async fn begin(&mut self) -> Result<Watch, Error> {
        let sent = self.shared.now();
        let now = current_revision(self.store.as_ref(), &self.prefix).await?;
        let reach = Revision::try_from(self.shared.settings.log_revisions).unwrap_or(Revision::MAX);
        let mut past = now.saturating_sub(reach).max(1).min(now);
        let mut found = None;
        for _ in 0..PAST_ATTEMPTS {
            match self.catch_up(past, now).await {
                Ok(watch) => {
                    found = Some(watch);
                    break;
                }
                Err(Error::Compacted { oldest }) => {
                    let oldest = match oldest {
                        0 => oldest_revision(self.store.as_ref(), &self.prefix, past).await?,
                        oldest => Some(oldest),
                    };
                    past = oldest.map_or(now, |oldest| oldest.max(past));
                }
                Err(error) => return Err(error),
            }
        }
        let watch = match found {
            Some(watch) => watch,
            None => {
                let mut listing = list_now(&self.reader()).await?;
                let watch = listing.watch.take();
                self.load(listing, 0);
                match watch {
                    Some(watch) => watch,
                    None => self.watch().await?,
                }
            }
        };
        self.publish();
        self.shared.pulse.ready(sent);
        if self.confirming.is_some() {
            // The watch broke meanwhile.
            self.shared.pulse.broken();
        }
        tracing::info!(
            revision = self.working.revision,
            keys = self.known.len(),
            "the watch cache is ready"
        );
        Ok(watch)
    }

    /// Lists at `past` and follows a watch from there until `now`.
    async fn catch_up(&mut self, past: Revision, now: Revision) -> Result<Watch, Error> {
        let listing = match past {
            // An empty store: nothing to list, everything comes by the watch.
            0 => Listing {
                kvs: Vec::new(),
                revision: 0,
                watch: None,
            },
            past => list_at(&self.reader(), past).await?,
        };
        self.load(listing, 0);
        let mut watch = self.watch().await?;
        let _demand = self.shared.demand_progress();
        self.shared.set_probe(Some(watch.probe.clone()));
        let mut extents = self.shared.extents();
        while self.working.as_of < now {
            let item = tokio::select! {
                item = watch.items.recv() => item.ok_or_else(ended)??,
                // The sender is ours, so it cannot be gone.
                _ = extents.changed() => {
                    self.measure(*extents.borrow_and_update());
                    continue;
                }
            };
            let at = self.shared.now();
            match item {
                WatchItem::Changes { revision, events } => {
                    if !self.apply(revision, &events, at) {
                        // All of it is the store's present history, of which this is a new epoch.
                        self.working.forget_history();
                    }
                }
                WatchItem::Progress(revision) => self.working.progress(revision),
                WatchItem::Interrupted => self.broken(),
                WatchItem::Resumed => self.resumed(),
            }
            self.is_level();
            self.working.trim(&self.bounds, at);
        }
        Ok(watch)
    }
}
