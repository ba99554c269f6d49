//! What is kept to answer readers of all instances of a service.

use std::{sync::OnceLock, time::SystemTime};

use crate::{
    cache::Selection,
    domain::{state::State, watch::WireForm},
};

use super::{InstanceView, Instances};

/// What is kept to answer readers of all instances of one service.
#[derive(Debug, Default)]
pub struct Roster {
    serving: Whole,
    all: Whole,
}

/// What is kept of all that one selection shows.
#[derive(Debug, Default)]
pub struct Whole {
    /// What it looks like on the wire.
    pub wire: WireForm,
    digest: OnceLock<u64>,
    warm_at: OnceLock<SystemTime>,
}

// === impl Instances ===

impl Instances {
    /// What is kept of everything it selects, if that is something, and not more than `limit`
    /// instances. Nothing is kept of what a filter takes.
    pub fn whole<'a>(&self, state: &'a State, limit: usize) -> Option<&'a Whole> {
        if self.filter.is_some() {
            return None;
        }
        let service = self.service(state)?;
        let roster = state.rosters.get(service.path.as_bytes())?;
        let (count, whole) = match self.view {
            InstanceView::Serving => (service.counts.serving, &roster.serving),
            InstanceView::All => (service.counts.instances, &roster.all),
        };
        (count <= limit).then_some(whole)
    }
}

// === impl Whole ===

impl Whole {
    /// The digest of the selection, which takes longer to compute than to find.
    pub fn digest(&self, selection: &Instances) -> u64 {
        if selection.is_alias() {
            return selection.digest();
        }
        *self.digest.get_or_init(|| selection.digest())
    }

    /// When all that the selection shows has its full weight, so that it looks alike from then on.
    pub fn warm_at(&self, selection: &Instances, state: &State) -> SystemTime {
        *self.warm_at.get_or_init(|| {
            let shown = selection.list(state, None);
            let shown = shown.filter_map(|(_, item)| selection.select(&item));
            let starts = shown.filter_map(|instance| instance.slow_start);
            let ends = starts.filter_map(|slow| slow.start.checked_add(slow.window));
            ends.max().unwrap_or(SystemTime::UNIX_EPOCH)
        })
    }
}
