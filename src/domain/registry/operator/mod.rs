//! What operators decide about an instance, whether it is registered or not.

mod decide;
mod put_service;
mod release_brake;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use crate::{domain::names::Label, store::Revision};

use crate::domain::registry::{InstanceRecord, InstanceSpec, Registration};

pub use self::{
    decide::{Decided, Decision},
    release_brake::{BrakeReleased, ReleaseBrake},
};

/// What an operator, or a drain, decided about an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OperatorState {
    /// Nothing.
    #[default]
    Active,
    /// It is being taken out; ends with the registration.
    Draining,
    /// It is kept out until an operator brings it back, re-registration or not.
    Isolated,
}

/// All that was decided about one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// Whether it is kept out. What a drain adds is in `drain`.
    pub isolated: bool,
    /// What is shown instead of what was registered.
    pub overlay: Overlay,
    /// The drain that was begun.
    pub drain: Option<Drain>,
    /// Who decided on the state, unverified. The overlay has an author of its own.
    pub author: Label,
    /// Why.
    pub comment: String,
    /// When.
    pub update_time: SystemTime,
    /// The request that wrote it last.
    pub request_id: String,
    /// The format it was written in.
    pub format: u32,
    /// The revision that last wrote it.
    pub mod_revision: Revision,
}

/// What is shown of an instance instead of what it registered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overlay {
    /// The weight.
    pub weight: Option<u32>,
    /// Metadata that is added or replaced.
    pub metadata: BTreeMap<String, String>,
    /// Keys of metadata that are hidden.
    pub hidden: BTreeSet<String>,
    /// Who decided so, unverified.
    pub author: Label,
    /// Why.
    pub comment: String,
    /// When; `None`: there is no overlay.
    pub update_time: Option<SystemTime>,
}

/// An instance that is being taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// Its random name.
    pub id: u64,
    /// When the instance is removed at the latest.
    pub deadline: SystemTime,
    /// When it began.
    pub start_time: SystemTime,
    /// Which registration is drained; another one of the same id is not.
    pub registration: Registration,
}

// === impl OperatorState ===

impl OperatorState {
    /// What it is called in filters and labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Isolated => "isolated",
        }
    }
}

// === impl Operator ===

impl Operator {
    /// Nothing was decided.
    pub(super) fn none() -> Self {
        Self {
            isolated: false,
            overlay: Overlay::default(),
            drain: None,
            author: Label::default(),
            comment: String::new(),
            update_time: SystemTime::UNIX_EPOCH,
            request_id: String::new(),
            format: 0,
            mod_revision: 0,
        }
    }

    /// Says whether nothing is left that was decided.
    pub(super) fn is_empty(&self) -> bool {
        !self.isolated && self.drain.is_none() && self.overlay.is_empty()
    }

    /// What it means for a registration.
    pub fn state(&self, record: &InstanceRecord) -> OperatorState {
        let drained = |drain: &Drain| drain.registration == record.registration();
        if self.isolated {
            OperatorState::Isolated
        } else if self.drain.as_ref().is_some_and(drained) {
            OperatorState::Draining
        } else {
            OperatorState::Active
        }
    }

    /// Says whether nothing was decided but, perhaps, a drain.
    pub fn is_only_drain(&self) -> bool {
        !self.isolated && self.overlay.is_empty()
    }
}

// === impl Overlay ===

impl Overlay {
    /// Says whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.weight.is_none() && self.metadata.is_empty() && self.hidden.is_empty()
    }

    /// Says whether it shows the same as another one.
    pub(super) fn shows_like(&self, other: &Self) -> bool {
        let shown = |overlay: &Self| {
            let Overlay {
                weight,
                metadata,
                hidden,
                ..
            } = overlay.clone();
            (weight, metadata, hidden)
        };
        shown(self) == shown(other)
    }

    /// What it says, in words: of metadata only the keys, because values may be secrets.
    pub(super) fn describe(&self) -> String {
        let list = |what: &str, keys: Vec<&str>| {
            (!keys.is_empty()).then(|| format!("{what} {}", keys.join(", ")))
        };
        let weight = self.weight.map(|weight| format!("weight {weight}"));
        let shown = self.metadata.keys().map(String::as_str).collect();
        let hidden = self.hidden.iter().map(String::as_str).collect();
        let parts = [weight, list("metadata", shown), list("hidden", hidden)];
        match self.is_empty() {
            true => "as registered".into(),
            false => parts.into_iter().flatten().collect::<Vec<_>>().join("; "),
        }
    }

    /// What is shown of what was registered.
    pub fn over(&self, spec: &InstanceSpec) -> InstanceSpec {
        let mut shown = spec.clone();
        if let Some(weight) = self.weight {
            shown.weight = weight;
        }
        shown.metadata.retain(|key, _| !self.hidden.contains(key));
        shown.metadata.extend(self.metadata.clone());
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_replaces_adds_and_hides_and_leaves_the_rest() {
        let map = |pairs: &[(&str, &str)]| {
            let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
            pairs.iter().map(owned).collect::<BTreeMap<_, _>>()
        };
        let spec = InstanceSpec {
            weight: 100,
            metadata: map(&[("a", "1"), ("b", "1"), ("c", "1")]),
            ..InstanceSpec::default()
        };
        assert_eq!(Overlay::default().over(&spec), spec);
        let overlay = Overlay {
            weight: Some(0),
            metadata: map(&[("b", "2"), ("d", "2")]),
            hidden: ["c".to_owned()].into(),
            ..Overlay::default()
        };
        let shown = overlay.over(&spec);
        assert_eq!(shown.weight, 0);
        assert_eq!(shown.metadata, map(&[("a", "1"), ("b", "2"), ("d", "2")]));
    }
}
