//! Reading all keys of a prefix, as they were at one revision.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;

use crate::{
    clock::Clock,
    store::{
        Error, Event, KeyRange, KeyValue, Outcome, PageSize, RangeRequest, RangeResponse, Revision,
        Store, Watch, WatchItem,
    },
};

/// How often a listing pinned at one revision is tried before it is taken without.
const PINNED_ATTEMPTS: usize = 2;

/// All keys of a prefix as they were at one revision.
pub(super) struct Listing {
    pub(super) kvs: Vec<KeyValue>,
    pub(super) revision: Revision,
    /// A watch that goes on after `revision`, if one is open already.
    pub(super) watch: Option<Watch>,
}

/// What a listing reads, and how.
pub(super) struct Reader<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) prefix: &'a Bytes,
    /// How many keys a page has at most.
    pub(super) page: usize,
    pub(super) clock: &'a dyn Clock,
    pub(super) progress_interval: Duration,
}

/// Lists the prefix as it is now: pinned at one revision, and when compaction cuts that short
/// again and again, with a watch that makes up for the pages' different ages.
pub(super) async fn list_now(reader: &Reader<'_>) -> Result<Listing, Error> {
    for _ in 0..PINNED_ATTEMPTS {
        match list_at(reader, 0).await {
            Err(Error::Compacted { .. }) => {}
            listed => return listed,
        }
    }
    list_moving(reader).await
}

/// Lists the prefix as it was at `revision`; `0`: as it is now.
pub(super) async fn list_at(reader: &Reader<'_>, revision: Revision) -> Result<Listing, Error> {
    let mut pages = Pages::new(reader.prefix, reader.page);
    let mut revision = revision;
    while let Some(request) = pages.next(revision) {
        let answer = match reader.store.range(request).await {
            Err(error) if pages.shrink(&error) => continue,
            answer => answer?,
        };
        if revision == 0 {
            revision = answer.revision;
        }
        pages.take(answer);
    }
    Ok(Listing {
        kvs: pages.kvs,
        revision,
        watch: None,
    })
}

/// Opens a watch, lists page by page at whatever revision each has, and lets the watch tell what
/// happened meanwhile.
async fn list_moving(reader: &Reader<'_>) -> Result<Listing, Error> {
    let start = current_revision(reader.store, reader.prefix).await?;
    let mut watch = reader.store.watch(reader.prefix.clone(), start + 1).await?;
    let mut pages = Pages::new(reader.prefix, reader.page);
    let mut newest = start;
    let mut meanwhile = Vec::new();
    while let Some(request) = pages.next(0) {
        let mut answer = reader.store.range(request);
        // The watch is read all the while, so that compaction cannot overtake it.
        let answer = loop {
            tokio::select! {
                answer = &mut answer => break answer,
                item = watch.items.recv() => meanwhile.push(item.ok_or_else(ended)??),
            }
        };
        let answer = match answer {
            Err(error) if pages.shrink(&error) => continue,
            answer => answer?,
        };
        newest = newest.max(answer.revision);
        pages.take(answer);
    }
    let mut map: BTreeMap<Bytes, KeyValue> = pages
        .kvs
        .into_iter()
        .map(|kv| (kv.key.clone(), kv))
        .collect();
    // The keys are those of `newest` once every event up to there is in: what a page was too old
    // to show comes as an event, what it shows already is older than the page.
    let mut revision = start;
    for item in meanwhile {
        revision = revision.max(merge(&mut map, item));
    }
    while revision < newest {
        tokio::select! {
            biased;
            item = watch.items.recv() => {
                revision = revision.max(merge(&mut map, item.ok_or_else(ended)??));
            }
            () = reader.clock.sleep(reader.progress_interval) => {
                match watch.probe.extent(revision).await? {
                    Some(now) if now.is_copied(revision, map.len()) => revision = now.revision,
                    Some(_) => {}
                    None => watch.probe.request_progress().await,
                }
            }
        }
    }
    Ok(Listing {
        kvs: map.into_values().collect(),
        revision: revision.max(start),
        watch: Some(watch),
    })
}

/// The store's revision, as a quorum knows it.
pub(super) async fn current_revision(store: &dyn Store, prefix: &Bytes) -> Result<Revision, Error> {
    let any = RangeRequest::new(KeyRange::key(prefix.clone())).count_only();
    Ok(store.range(any).await?.revision)
}

/// The oldest revision that the store still has, learnt from a watch of older ones; `None` if it
/// does not say.
pub(super) async fn oldest_revision(
    store: &dyn Store,
    prefix: &Bytes,
    from: Revision,
) -> Result<Option<Revision>, Error> {
    let error = match store.watch(prefix.clone(), from.max(1)).await {
        Ok(mut watch) => match watch.items.recv().await {
            Some(Err(error)) => error,
            Some(Ok(_)) => return Ok(None),
            None => ended(),
        },
        Err(error) => error,
    };
    match error {
        Error::Compacted { oldest } => Ok((oldest > 0).then_some(oldest)),
        error => Err(error),
    }
}

/// A watch that ended without saying why.
pub(super) fn ended() -> Error {
    Error::Unavailable {
        message: "the watch ended".into(),
        outcome: Outcome::NotDone,
    }
}

/// Merges an item of the watch into what the pages showed; returns how far the item reaches.
fn merge(map: &mut BTreeMap<Bytes, KeyValue>, item: WatchItem) -> Revision {
    let (revision, events) = match item {
        WatchItem::Changes { revision, events } => (revision, events),
        WatchItem::Progress(revision) => (revision, Vec::new()),
        WatchItem::Interrupted | WatchItem::Resumed => (0, Vec::new()),
    };
    for event in events {
        let known = map.get(event.key()).map_or(0, |kv| kv.mod_revision);
        match event {
            Event::Put(kv) if kv.mod_revision > known => {
                map.insert(kv.key.clone(), kv);
            }
            Event::Delete { key, revision } if revision > known => {
                map.remove(&key);
            }
            Event::Put(_) | Event::Delete { .. } => {}
        }
    }
    revision
}

/// The pages of a listing, in key order.
struct Pages {
    keys: KeyRange,
    size: PageSize,
    next: Option<Bytes>,
    kvs: Vec<KeyValue>,
    /// Whether a page did not come in time since the last one that came.
    late: bool,
}

// === impl Pages ===

impl Pages {
    fn new(prefix: &Bytes, most: usize) -> Self {
        let keys = KeyRange::prefix(prefix.clone());
        Self {
            next: Some(keys.start.clone()),
            keys,
            size: PageSize::new(most),
            kvs: Vec::new(),
            late: false,
        }
    }

    fn next(&self, revision: Revision) -> Option<RangeRequest> {
        let keys = KeyRange {
            start: self.next.clone()?,
            end: self.keys.end.clone(),
        };
        let request = RangeRequest::new(keys).limit(self.size.keys());
        Some(request.at(revision))
    }

    fn take(&mut self, answer: RangeResponse) {
        self.next = match answer.kvs.last() {
            Some(last) if answer.more => {
                // The first key after it.
                let mut next = last.key.to_vec();
                next.push(0);
                Some(next.into())
            }
            _ => None,
        };
        self.size.learn(&answer.kvs);
        self.kvs.extend(answer.kvs);
        self.late = false;
    }

    /// Makes the page smaller that failed, if that may help.
    fn shrink(&mut self, error: &Error) -> bool {
        match error {
            // Perhaps it was larger than a message may be.
            Error::Invalid(_) => self.size.shrink(),
            // Perhaps it was larger than comes in time; if a smaller one does not come either, it
            // is the store, which is not to be asked again at once.
            Error::Timeout { .. } => !std::mem::replace(&mut self.late, true) && self.size.shrink(),
            _ => false,
        }
    }
}
