//! What a selection showed, revision by revision, in each of the store's epochs.

use std::collections::BTreeMap;

use prost::Message as _;
use stanchion::proto::store;

use super::projection::{Projection, Step};
use crate::{
    view::{Look, View},
    witness::{Change, History, Part},
};

/// What one selection showed.
#[derive(Debug)]
pub struct Truth {
    pub prefix: String,
    /// One for each unbroken part of the store's history.
    pub lines: Vec<Line>,
    epochs: BTreeMap<String, Reign>,
}

/// What was shown in one unbroken part of the store's history.
#[derive(Debug, Default)]
pub struct Line {
    base: BTreeMap<String, Look>,
    pub steps: BTreeMap<i64, Vec<Step>>,
    pub end: i64,
}

/// Where an epoch was the current one. A restored backup also has the epochs of before; whoever
/// names one of them speaks of the history that was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reign {
    /// Index of the line.
    pub line: usize,
    pub first: i64,
    /// The last revision that can belong to it.
    pub last: i64,
}

// === impl Truth ===

impl Truth {
    /// Derives it. Fails on a record that is not one.
    pub fn of(history: &History, view: &View) -> Result<Self, String> {
        let mut truth = Self {
            prefix: view.prefix(),
            lines: Vec::new(),
            epochs: BTreeMap::new(),
        };
        let root = history.prefix();
        for (index, part) in history.parts.iter().enumerate() {
            truth.lines.push(Line::of(part, &root, view)?);
            truth.find_epochs(index, part, &root)?;
        }
        Ok(truth)
    }

    /// Where an epoch was current; `None` if the store never had it.
    pub fn reign(&self, epoch: &str) -> Option<Reign> {
        self.epochs.get(epoch).copied()
    }

    fn find_epochs(&mut self, line: usize, part: &Part, root: &str) -> Result<(), String> {
        let key = format!("{root}epoch");
        let mut found = Vec::new();
        if let Some(put) = part.base.get(key.as_bytes()) {
            found.push((put.mod_revision, put));
        }
        for (revision, told) in &part.revisions {
            let puts = told
                .changes
                .iter()
                .filter(|change| change.key == key.as_bytes());
            found.extend(puts.filter_map(|change| Some((*revision, change.put.as_ref()?))));
        }
        let ends = found.iter().skip(1).map(|(revision, _)| revision - 1);
        let ends: Vec<_> = ends.chain([part.end]).collect();
        for ((first, put), last) in found.into_iter().zip(ends) {
            let record = store::Epoch::decode(put.value.as_ref())
                .map_err(|error| format!("the epoch at {first}: {error}"))?;
            let reign = Reign { line, first, last };
            self.epochs.entry(record.id).or_insert(reign);
        }
        Ok(())
    }
}

// === impl Line ===

impl Line {
    fn of(part: &Part, root: &str, view: &View) -> Result<Self, String> {
        let mut projection = Projection::new(view);
        let base: Vec<Change> = part
            .base
            .iter()
            .map(|(key, put)| Change {
                key: key.clone(),
                put: Some(put.clone()),
            })
            .collect();
        projection.apply(&named(&base, root))?;
        let mut line = Self {
            base: projection.shown.clone(),
            steps: BTreeMap::new(),
            end: part.end,
        };
        for (revision, told) in &part.revisions {
            let steps = projection.apply(&named(&told.changes, root))?;
            if !steps.is_empty() {
                line.steps.insert(*revision, steps);
            }
        }
        Ok(line)
    }

    /// What was shown at a revision.
    pub fn at(&self, revision: i64) -> BTreeMap<String, Look> {
        let mut shown = self.base.clone();
        self.advance(&mut shown, i64::MIN, revision);
        shown
    }

    /// Makes of what was shown at `after` what was shown at `through`.
    pub fn advance(&self, shown: &mut BTreeMap<String, Look>, after: i64, through: i64) {
        for (_, step) in self.between(after, through) {
            match &step.after {
                Some(look) => shown.insert(step.path.clone(), look.clone()),
                None => shown.remove(&step.path),
            };
        }
    }

    /// What changed after one revision and up to another.
    pub fn between(&self, after: i64, through: i64) -> impl Iterator<Item = (i64, &Step)> {
        self.steps
            .range(after.saturating_add(1)..=through.max(after.saturating_add(1)))
            .filter(move |(revision, _)| **revision <= through)
            .flat_map(|(revision, steps)| steps.iter().map(|step| (*revision, step)))
    }
}

/// The changes with their keys below the prefix, in text. No key of the server's is anything else.
fn named<'a>(changes: &'a [Change], root: &str) -> Vec<(&'a str, &'a Change)> {
    let name = |change: &'a Change| {
        let key = std::str::from_utf8(&change.key).ok()?;
        Some((key.strip_prefix(root)?, change))
    };
    changes.iter().filter_map(name).collect()
}
