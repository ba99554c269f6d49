//! Drafts: what items are to say once they are published. Nobody watches them.

mod put;

use std::time::SystemTime;

use bytes::Bytes;

use crate::{
    domain::{
        Error,
        error::Resource,
        keyspace::ConfigPath,
        names::{ConfigKey, Label, Namespace},
        records,
    },
    store::{KeyRange, KeyValue, PageSize, RangeRequest, Revision},
};

use super::{Body, ConfigPrefix, Configs, history};

pub use self::put::PutDraft;

/// How many drafts are read at a time, at most.
const SPAN: usize = 64;
/// About how many bytes one page of drafts holds, contents aside.
const PAGE_BYTES: usize = 1024 * 1024;

/// A draft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Of which item.
    pub path: ConfigPath,
    /// What the item is to say; `None`: it is to be deleted.
    pub body: Option<Body>,
    /// The version that was visible when the draft was put; `0`: none was.
    pub base_version: i64,
    /// Who put it, unverified.
    pub actor: Label,
    /// Why, in the author's words.
    pub comment: String,
    /// When.
    pub update_time: SystemTime,
    /// The request that put it.
    pub request_id: String,
    /// The format it was written in.
    pub format: u32,
    /// The revision that last put it; `0`: it would only be put.
    pub revision: Revision,
}

/// Which drafts to list.
#[derive(Debug, Clone)]
pub struct DraftsPage {
    /// Only later ones than this; `None`: all.
    pub after: Option<ConfigKey>,
    /// At most this many.
    pub size: usize,
}

/// A page of drafts.
#[derive(Debug, Clone)]
pub struct Drafts {
    /// The drafts, ordered by key, without contents.
    pub drafts: Vec<Draft>,
    /// After which key the next page begins; `None`: this was the last one.
    pub next: Option<ConfigKey>,
    /// The revision the page shows.
    pub revision: Revision,
}

// === impl Configs ===

impl Configs {
    /// Reads a draft, and the revision at which it was there. Errors: [`Error::NotFound`].
    pub async fn draft(&self, path: &ConfigPath) -> Result<(Draft, Revision), Error> {
        let (found, revision) = self.find_draft(path).await?;
        let missing = || Error::NotFound {
            resource: Resource::ConfigDraft,
            name: path.path(),
        };
        Ok((found.ok_or_else(missing)?, revision))
    }

    /// Lists the drafts of a namespace whose key begins with `prefix`.
    pub async fn drafts(
        &self,
        namespace: &Namespace,
        prefix: &ConfigPrefix,
        page: DraftsPage,
    ) -> Result<Drafts, Error> {
        let mut keys = self.core.keys.drafts(namespace, prefix.as_str());
        let path = |key: ConfigKey| ConfigPath {
            namespace: namespace.clone(),
            key,
        };
        if let Some(after) = page.after {
            keys.start = behind(&self.core.keys.draft(&path(after)));
        }
        let mut answer = Drafts {
            drafts: Vec::new(),
            next: None,
            revision: 0,
        };
        let mut bytes = 0;
        let mut span = PageSize::new(SPAN);
        loop {
            // All of a page is of one moment.
            let request = RangeRequest::new(keys.clone())
                .limit(span.keys())
                .at(answer.revision);
            let found = self.core.store.range(request).await.map_err(Error::Store)?;
            if answer.revision == 0 {
                answer.revision = found.revision;
            }
            for kv in &found.kvs {
                let key = self.core.keys.parse_draft(namespace, &kv.key);
                let key = key.ok_or_else(|| Error::Internal("a draft has no key".into()))?;
                if answer.drafts.len() == page.size || bytes > PAGE_BYTES {
                    answer.next = answer.drafts.last().map(|last| last.path.key.clone());
                    return Ok(answer);
                }
                let mut draft = decode(path(key), kv)?;
                if let Some(body) = &mut draft.body {
                    body.content.clear();
                }
                bytes += kv.key.len() + 5 * 1024;
                answer.drafts.push(draft);
            }
            span.learn(&found.kvs);
            match found.kvs.last() {
                Some(last) if found.more => keys.start = behind(&last.key),
                _ => return Ok(answer),
            }
        }
    }

    async fn find_draft(&self, path: &ConfigPath) -> Result<(Option<Draft>, Revision), Error> {
        let keys = KeyRange::key(self.core.keys.draft(path));
        let found = self.core.store.range(RangeRequest::new(keys)).await;
        let found = found.map_err(Error::Store)?;
        let draft = found.kvs.first().map(|kv| decode(path.clone(), kv));
        Ok((draft.transpose()?, found.revision))
    }
}

fn decode(path: ConfigPath, kv: &KeyValue) -> Result<Draft, Error> {
    records::draft(path, kv).map_err(|error| history::undecodable(kv, &error))
}

/// The first key after one.
fn behind(key: &[u8]) -> Bytes {
    [key, b"\0"].concat().into()
}
