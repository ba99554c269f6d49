//! Which version each line of an item is from.

use std::collections::BTreeSet;

use similar::DiffOp;

use crate::{
    cache::Freshness,
    domain::{Error, error::Resource, keyspace::ConfigPath},
    store::Revision,
};

use super::{
    ConfigVersion, Configs, ContentType, absent,
    diff::current,
    lines::{self, Steps},
};

/// How many versions are read at most.
const VERSIONS: usize = 100;
/// After how many bytes of contents no other version is read.
const BYTES: usize = 16 * 1024 * 1024;

/// Which version each line is from.
#[derive(Debug, Clone)]
pub struct Blame {
    /// The version whose lines they are, with its content.
    pub version: ConfigVersion,
    /// The number of a version, for each line.
    pub lines: Vec<i64>,
    /// Those versions, newest first, without contents.
    pub versions: Vec<ConfigVersion>,
    /// Those of all these that are pinned.
    pub pinned: BTreeSet<i64>,
    /// Lines of the oldest of them may be older.
    pub cut_off: bool,
    /// The revision at which it was so.
    pub revision: Revision,
}

/// Goes back through the versions, and notes which lines each of them brought.
struct Search {
    /// The version that brought a line; `0`: not known yet.
    found: Vec<i64>,
    /// Of how many lines it is not known.
    open: usize,
    /// The version that was read last.
    last: ConfigVersion,
    /// Which line each line of it became; `None`: one that is gone, or was found.
    becomes: Vec<Option<usize>>,
}

// === impl Configs ===

impl Configs {
    /// Finds out which version brought each line of `version` (`0`: of the current one).
    ///
    /// Errors: [`Error::NotFound`], [`Error::NotText`].
    pub async fn blame(
        &self,
        path: &ConfigPath,
        version: i64,
        freshness: Freshness,
    ) -> Result<Blame, Error> {
        let view = self.core.cache.read(freshness).await?;
        let revision = view.revision;
        let known = current(&view, path);
        drop(view);
        let target = match (version, known) {
            (0, Some(known)) if !known.deleted => known,
            (0, _) => return Err(absent(path)),
            (number, Some(known)) if known.version == number => known,
            (number, _) => {
                let freshness = Freshness::AtLeast(revision);
                self.whole_version(path, number, freshness).await?.0
            }
        };
        let mut search = Search::new(path, target.clone())?;
        let mut versions = vec![without_content(target.clone())];
        let mut bytes = target.size;
        let mut cut_off = false;
        while search.open > 0 && search.last.prev_version > 0 {
            if versions.len() == VERSIONS || bytes > BYTES {
                cut_off = true;
                break;
            }
            let (number, freshness) = (search.last.prev_version, Freshness::AtLeast(revision));
            let older = match self.whole_version(path, number, freshness).await {
                Ok((older, ..)) => older,
                Err(
                    Error::NotFound {
                        resource: Resource::ConfigVersion,
                        ..
                    }
                    | Error::ContentLost { .. }
                    | Error::NewerFormat { .. },
                ) => {
                    cut_off = true;
                    break;
                }
                Err(error) => return Err(error),
            };
            bytes += older.size;
            versions.push(without_content(older.clone()));
            search = self.aside.run(move || search.back_to(older)).await?;
        }
        let lines = search.end();
        let mut named: BTreeSet<i64> = lines.iter().copied().collect();
        versions.retain(|version| named.contains(&version.version));
        named.insert(target.version);
        let pinned = self.pinned_among(path, &named, revision).await?;
        Ok(Blame {
            version: target,
            lines,
            versions,
            pinned,
            cut_off,
            revision,
        })
    }
}

// === impl Search ===

impl Search {
    fn new(path: &ConfigPath, version: ConfigVersion) -> Result<Self, Error> {
        let text = text(&version).ok_or_else(|| Error::NotText { name: path.path() })?;
        let count = lines::of(text).len();
        Ok(Self {
            found: vec![0; count],
            open: count,
            becomes: (0..count).map(Some).collect(),
            last: version,
        })
    }

    /// Goes back to the version before: what that does not say, the last one brought.
    fn back_to(self, older: ConfigVersion) -> Self {
        let Self {
            mut found,
            mut open,
            last,
            becomes,
        } = self;
        // A version that was no text had no lines.
        let (before, after) = (text(&older), text(&last));
        let before = lines::of(before.unwrap_or_default());
        let after = lines::of(after.unwrap_or_default());
        let mut earlier = vec![None; before.len()];
        let Steps { steps, .. } = lines::steps(&before, &after);
        for step in steps {
            if let DiffOp::Equal { .. } = step {
                let kept = step.old_range().zip(step.new_range());
                kept.for_each(|(old, new)| earlier[old] = becomes[new]);
                continue;
            }
            for line in becomes[step.new_range()].iter().flatten() {
                found[*line] = last.version;
                open -= 1;
            }
        }
        Self {
            found,
            open,
            last: older,
            becomes: earlier,
        }
    }

    /// What is not known yet, the oldest version brought that was read.
    fn end(self) -> Vec<i64> {
        let Self { found, last, .. } = self;
        let known = |version| match version {
            0 => last.version,
            version => version,
        };
        found.into_iter().map(known).collect()
    }
}

fn text(version: &ConfigVersion) -> Option<&str> {
    let text = version.body.content_type != ContentType::Binary;
    let text = text.then(|| std::str::from_utf8(&version.body.content));
    text?.ok()
}

fn without_content(mut version: ConfigVersion) -> ConfigVersion {
    version.body.content.clear();
    version
}
