//! Lists of config items, page by page.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    cache::{Freshness, Selection, Token},
    domain::{Error, state::View},
};

use super::{ConfigHead, ConfigSelection, Configs};

/// About how many bytes of contents one page holds.
const PAGE_BYTES: usize = 1024 * 1024;

/// Where a page begins, and what the pages before it have shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// From where a watch misses nothing that any of those pages did not show.
    pub token: Token,
    /// The path of the last item shown.
    pub after: Bytes,
}

/// A page of a list.
pub struct Listed {
    /// The items, in key order.
    pub configs: Vec<Arc<ConfigHead>>,
    /// Where the next page begins; `None`: this was the last one.
    pub next: Option<Resume>,
    /// From where a watch of the same selection misses nothing since the first page.
    pub token: Token,
    /// The state this page shows.
    pub view: View,
}

// === impl Resume ===

impl Resume {
    /// Writes it for the wire.
    pub fn encode(&self) -> Vec<u8> {
        let token = self.token.encode();
        let mut bytes = Vec::with_capacity(1 + token.len() + self.after.len());
        bytes.extend(u8::try_from(token.len()));
        bytes.extend(token);
        bytes.extend(&self.after);
        bytes
    }

    /// Reads it from the wire; `None` if it is none of `selection`.
    pub fn decode(bytes: &[u8], selection: &ConfigSelection) -> Option<Self> {
        let (&length, rest) = bytes.split_first()?;
        let (token, after) = rest.split_at_checked(length.into())?;
        let token = Token::decode(token)?;
        (token.digest == selection.digest() && selection.covers(after)).then(|| Self {
            token,
            after: Bytes::copy_from_slice(after),
        })
    }
}

// === impl Configs ===

impl Configs {
    /// Reads a page of at most `size` items and about 1 MiB.
    pub async fn list(
        &self,
        selection: &ConfigSelection,
        resume: Option<Resume>,
        size: usize,
        freshness: Freshness,
    ) -> Result<Listed, Error> {
        let view = self.core.cache.read(freshness).await?;
        let mut token = self.core.cache.token(&view, selection);
        if let Some(resume) = &resume {
            // Another replica, a little behind the one before, can show a page of an older state.
            // Of another epoch only the old token says that all pages before are void.
            token = if token.epoch == resume.token.epoch {
                let revision = token.revision.min(resume.token.revision);
                Token { revision, ..token }
            } else {
                resume.token
            };
        }
        let after = resume.map(|resume| resume.after);
        let mut configs: Vec<Arc<ConfigHead>> = Vec::new();
        let (mut bytes, mut next, mut last) = (0, None, Bytes::new());
        for (path, item) in selection.list(&view.state, after.as_ref()) {
            let Some(head) = selection.select(&item) else {
                continue;
            };
            bytes += weight(&head);
            if configs.len() == size || (bytes > PAGE_BYTES && !configs.is_empty()) {
                next = Some(Resume { token, after: last });
                break;
            }
            configs.push(head);
            last = path;
        }
        Ok(Listed {
            configs,
            next,
            token,
            view,
        })
    }
}

fn weight(head: &ConfigHead) -> usize {
    let body = &head.current.body;
    let labels = body
        .labels
        .iter()
        .map(|(key, value)| key.len() + value.len());
    512 + body.content.len() + body.description.len() + labels.sum::<usize>()
}
