//! What differs between two versions of an item.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::Value;

use crate::{
    cache::Freshness,
    domain::{Error, keyspace::ConfigPath, state::View},
    store::Revision,
};

use super::{
    Body, ConfigVersion, Configs, Content, ContentType, absent, lines,
    patch::{Patch, patch},
};

/// One side of a comparison.
#[derive(Debug, Clone)]
pub enum Side {
    /// A version.
    Version(i64),
    /// What no version says.
    Given {
        /// The content.
        content: Bytes,
        /// How to read it.
        content_type: ContentType,
    },
}

/// What is to be compared.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// What was said before; `None`: the version before that, or the current one if that is given.
    pub from: Option<Side>,
    /// What is said after; `None`: the current version.
    pub to: Option<Side>,
}

/// What differs.
#[derive(Debug, Clone)]
pub struct Diff {
    /// The version before, without its content; `None`: there was none, or it was given.
    pub from: Option<ConfigVersion>,
    /// The version after, without its content; `None`: it was given.
    pub to: Option<ConfigVersion>,
    /// Those of the two that are pinned.
    pub pinned: BTreeSet<i64>,
    /// What differs between the contents.
    pub contents: ContentDiff,
    /// The revision at which it was so.
    pub revision: Revision,
}

/// What differs between two contents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContentDiff {
    /// Nothing does.
    pub equal: bool,
    /// One of them is no text.
    pub binary: bool,
    /// Line by line, in the unified format; empty if they are equal.
    pub unified: String,
    /// As a JSON patch; empty if they are not both structured.
    pub patch: String,
    /// Not all that is common was searched for.
    pub coarse: bool,
}

/// A side that was looked up.
struct Found {
    version: Option<ConfigVersion>,
    name: String,
    /// `None`: there is nothing, or a deletion.
    body: Option<(Bytes, ContentType)>,
}

// === impl Configs ===

impl Configs {
    /// Compares two versions of an item, or one with a content.
    ///
    /// Errors: [`Error::NotFound`] for an item and for versions that do not exist or are not kept any
    /// more.
    pub async fn diff(
        &self,
        path: &ConfigPath,
        comparison: Comparison,
        freshness: Freshness,
    ) -> Result<Diff, Error> {
        let view = self.core.cache.read(freshness).await?;
        let current = current(&view, path);
        let version = async |number: i64| match &current {
            Some(current) if current.version == number => Ok(current.clone()),
            _ => {
                let freshness = Freshness::AtLeast(view.revision);
                let (version, _) = self.whole_version(path, number, freshness).await?;
                Ok::<_, Error>(version)
            }
        };
        let to = match comparison.to {
            Some(Side::Given {
                content,
                content_type,
            }) => Found::given(content, content_type),
            Some(Side::Version(number)) => Found::of(version(number).await?),
            None => Found::of(current.clone().ok_or_else(|| absent(path))?),
        };
        let from = match (comparison.from, &to.version) {
            (
                Some(Side::Given {
                    content,
                    content_type,
                }),
                _,
            ) => Found::given(content, content_type),
            (Some(Side::Version(number)), _) => Found::of(version(number).await?),
            (None, None) => current.clone().map_or_else(Found::nothing, Found::of),
            (None, Some(to)) if to.prev_version == 0 => Found::nothing(),
            (None, Some(to)) => Found::of(version(to.prev_version).await?),
        };
        let names = [&from, &to].map(|side| format!("{} {}", path.key, side.name));
        let (before, after) = (from.body, to.body);
        let contents = self
            .aside
            .run(move || compare(names, before, after))
            .await?;
        let sides = [&from.version, &to.version].into_iter().flatten();
        let sides: BTreeSet<i64> = sides.map(|version| version.version).collect();
        let pinned = self.pinned_among(path, &sides, view.revision).await?;
        Ok(Diff {
            pinned,
            from: from.version,
            to: to.version,
            contents,
            revision: view.revision,
        })
    }
}

/// The current version of an item, be it a deletion.
pub(super) fn current(view: &View, path: &ConfigPath) -> Option<ConfigVersion> {
    let head = view.state.configs.get(path.path().as_bytes());
    head.map(|head| head.current.clone())
}

type Said = Option<(Bytes, ContentType)>;

fn compare(names: [String; 2], from: Said, to: Said) -> ContentDiff {
    let bytes = |said: &Said| said.as_ref().map_or_else(Bytes::new, |said| said.0.clone());
    let (old, new) = (bytes(&from), bytes(&to));
    let equal = old == new;
    let is_binary = |said: &Said| {
        let binary =
            |(_, content_type): &(Bytes, ContentType)| *content_type == ContentType::Binary;
        said.as_ref().is_some_and(binary)
    };
    let binary = is_binary(&from) || is_binary(&to);
    let texts = (std::str::from_utf8(&old), std::str::from_utf8(&new));
    let (false, (Ok(old), Ok(new))) = (binary, texts) else {
        return ContentDiff {
            equal,
            binary: true,
            ..ContentDiff::default()
        };
    };
    let patch = match (from.as_ref().and_then(value), to.as_ref().and_then(value)) {
        (Some(from), Some(to)) => patch(&from, &to),
        _ => Patch::default(),
    };
    let (unified, coarse) = match equal {
        true => (String::new(), false),
        false => lines::unified([&names[0], &names[1]], old, new),
    };
    ContentDiff {
        equal,
        binary,
        unified,
        patch: patch.text,
        coarse: coarse || patch.coarse,
    }
}

/// What a content says that is structured, well-formed, and one document or none.
fn value((content, content_type): &(Bytes, ContentType)) -> Option<Value> {
    match Content::read(*content_type, content) {
        Ok(Content::Structured(mut documents)) if documents.len() <= 1 => {
            Some(documents.pop().unwrap_or_default())
        }
        _ => None,
    }
}

// === impl Found ===

impl Found {
    fn of(mut version: ConfigVersion) -> Self {
        let Body {
            content,
            content_type,
            ..
        } = &mut version.body;
        // What is answered says the rest.
        let said = (std::mem::take(content), *content_type);
        Self {
            name: format!("version {}", version.version),
            body: (!version.deleted).then_some(said),
            version: Some(version),
        }
    }

    fn given(content: Bytes, content_type: ContentType) -> Self {
        Self {
            version: None,
            name: "as given".into(),
            body: Some((content, content_type)),
        }
    }

    fn nothing() -> Self {
        Self {
            version: None,
            name: "nothing".into(),
            body: None,
        }
    }
}
