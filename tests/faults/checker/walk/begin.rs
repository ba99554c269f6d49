//! How a watch begins: with a snapshot, at first and after each reset.

use stanchion_client::proto::ResetReason;

use super::{Place, Walk};
use crate::{
    checker::{Kind, events},
    recorder::Message,
    view::Look,
};

/// What a stream is about to tell.
pub(super) enum Stream {
    Closed,
    /// A snapshot: it began without a token, or after a reset.
    Begins(Option<Restart>),
    /// More of a snapshot, which restarts the watch or not.
    Snapshot(Vec<(String, Look)>, Option<Restart>),
    Follows,
}

/// A reset, and where the watcher was before.
pub(super) struct Restart {
    reason: ResetReason,
    before: Option<(String, i64)>,
}

// === impl Walk ===

impl Walk<'_> {
    pub(super) fn reset(&mut self, reason: ResetReason, message: &Message) {
        let resets = &mut self.summary.resets;
        *resets.entry(reason.as_str_name()).or_default() += 1;
        self.parts = None;
        let mut before = self.place.take().map(|place| (place.epoch, place.revision));
        if let Some((epoch, revision)) = &before {
            let changed = *epoch != message.epoch;
            if changed != (reason == ResetReason::EpochChanged) {
                let says = format!(
                    "{} from epoch {epoch} to {}",
                    reason.as_str_name(),
                    message.epoch
                );
                self.violate(Kind::Reset, *revision, None, says);
            }
        }
        // What begins a snapshot may become void before it is whole.
        if let Stream::Begins(Some(restart)) | Stream::Snapshot(_, Some(restart)) = &mut self.stream
        {
            before = before.or(restart.before.take());
        }
        self.stream = Stream::Begins(Some(Restart { reason, before }));
    }

    pub(super) fn snapshot(&mut self, items: &[(String, Look)]) {
        match &mut self.stream {
            Stream::Snapshot(all, _) => all.extend_from_slice(items),
            Stream::Begins(restart) => {
                self.stream = Stream::Snapshot(items.to_vec(), restart.take());
            }
            Stream::Follows | Stream::Closed => self.shape("a snapshot that no reset announced"),
        }
    }

    pub(super) fn snapshot_end(&mut self, revision: i64, epoch: &str) {
        let stream = std::mem::replace(&mut self.stream, Stream::Follows);
        let (items, restart) = match stream {
            Stream::Snapshot(items, restart) => (items, restart),
            Stream::Begins(restart) => (Vec::new(), restart),
            Stream::Follows | Stream::Closed => {
                self.shape("the end of a snapshot that never began");
                return;
            }
        };
        self.summary.snapshots += 1;
        let Some(reign) = self.reign(epoch, revision) else {
            return;
        };
        if let Some(restart) = restart {
            self.check_restart(&restart, epoch, revision);
        }
        let known = self.line(reign).at(revision);
        for (path, says) in events::compare_snapshot(&self.truth.prefix, &items, &known) {
            self.violate(Kind::Snapshot, revision, Some(path), says);
        }
        self.summary.through = revision;
        self.place = Some(Place {
            epoch: epoch.to_owned(),
            reign,
            revision,
            known,
        });
    }

    /// A watcher that starts over must not go back in time, unless its time never was.
    fn check_restart(&mut self, restart: &Restart, epoch: &str, revision: i64) {
        let same_epoch = restart
            .before
            .as_ref()
            .filter(|(before, _)| before == epoch);
        if let Some((_, before)) = same_epoch
            && restart.reason == ResetReason::BehindLog
            && revision < *before
        {
            let says = format!("it was behind at {before} and started over before that");
            self.violate(Kind::Reset, revision, None, says);
        }
    }
}
