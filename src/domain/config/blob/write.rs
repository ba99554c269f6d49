//! Writing a blob before what refers to it.

use bytes::Bytes;

use crate::{
    domain::{
        Core, Error,
        config::{ConfigVersion, Configs},
        keyspace::ConfigPath,
        records,
    },
    store::{self, Compare, KeyRange, Operation as Step, Outcome, RangeRequest, Revision, Txn},
};

use super::{
    super::change::{Entry, Order},
    Blob, BlobId, BlobPart, PIECE,
};

/// The largest content that a version has in itself: lists of versions read it, and drop it.
const INLINE: usize = 64 * 1024;
/// The most content that the versions of one transaction have in themselves. Twice as much, with
/// names and notes, fits into it well.
const INLINE_TOGETHER: usize = 256 * 1024;
/// The same while there is a replica that knows no blobs: what just fits.
const INLINE_AT_MOST: usize = 512 * 1024;

/// The contents of a transaction, kept apart from its versions.
pub(in super::super) struct Apart {
    blob: Blob,
    /// Where the content of each item is, if it has one.
    parts: Vec<Option<BlobPart>>,
    /// The revision since which the blob has been there; `None`: it is not needed to be.
    since: Option<Revision>,
    /// Names the transaction among those that refer to the blob.
    call: u64,
}

// === impl Configs ===

impl Configs {
    /// Sees to it that the contents which are too large for their versions are in a blob.
    ///
    /// Errors: [`Error::ReplicaTooOld`] where a replica would take them for empty ones.
    pub(in super::super) async fn keep_apart(
        &self,
        order: &Order,
        planned: &[Option<ConfigVersion>],
    ) -> Result<Option<Apart>, Error> {
        let Some(mut apart) = Apart::of(planned) else {
            return Ok(None);
        };
        let view = self.core.cache.view()?;
        let mut replicas = view.state.replicas.values();
        if let Some(old) = replicas.find(|replica| replica.supported_format < records::NEWEST) {
            if apart.blob.content.len() <= INLINE_AT_MOST {
                return Ok(None);
            }
            return Err(Error::ReplicaTooOld {
                replica: old.address.clone(),
                version: old.version.clone(),
            });
        }
        if !order.terms.validate_only {
            // Nothing is left in the store by whoever may not write.
            self.core.require(order.terms.guard.as_ref()).await?;
            apart.since = Some(self.core.keep_blob(&apart.blob).await?);
        }
        Ok(Some(apart))
    }
}

// === impl Core ===

impl Core {
    /// Writes a blob if it is not there, and says since when it has been. It is void until a
    /// transaction refers to it: an unknown outcome means that nothing was changed.
    async fn keep_blob(&self, blob: &Blob) -> Result<Revision, Error> {
        let key = self.keys.blob(&blob.id);
        let known = RangeRequest::new(KeyRange::key(key.clone()));
        let known = self.store.range(known).await.map_err(Error::Store)?;
        if let Some(known) = known.kvs.first() {
            return Ok(known.create_revision);
        }
        let record = records::encode_blob(blob, self.clock.system_time());
        let pieces = (0..).zip(blob.content.chunks(PIECE)).map(|(at, piece)| {
            let piece = blob.content.slice_ref(piece);
            Step::put(self.keys.blob_piece(&blob.id, at), piece)
        });
        let txn = Txn::new()
            .when(Compare::absent(key.clone()))
            .then(Step::put(key.clone(), record))
            .then_all(pieces)
            .otherwise(Step::get(key));
        txn.check_size()?;
        // What refers to it has to be written in time too.
        let deadline = self.clock.now() + self.settings.commit_timeout / 2;
        let sent = self.send_again(txn, None, deadline).await;
        let response = sent.map_err(nothing_changed)?.response;
        match response.found(0) {
            Some(known) => Ok(known.create_revision),
            None => Ok(response.revision),
        }
    }
}

fn nothing_changed(error: Error) -> Error {
    match error {
        Error::CommitUnknown(message) => Error::Store(store::Error::Unavailable {
            message,
            outcome: Outcome::NotDone,
        }),
        error => error,
    }
}

// === impl Apart ===

impl Apart {
    /// All contents of what is planned, if they are too large for their versions.
    fn of(planned: &[Option<ConfigVersion>]) -> Option<Self> {
        let content = |version: &Option<ConfigVersion>| {
            let content = version.as_ref().map(|version| version.body.content.clone());
            content.unwrap_or_default()
        };
        let contents: Vec<Bytes> = planned.iter().map(content).collect();
        let together: usize = contents.iter().map(Bytes::len).sum();
        if together <= INLINE_TOGETHER && contents.iter().all(|content| content.len() <= INLINE) {
            return None;
        }
        let mut alone = contents.iter().filter(|content| !content.is_empty());
        let whole = match (alone.next(), alone.next()) {
            (Some(content), None) => content.clone(),
            _ => contents.concat().into(),
        };
        let id = BlobId::of(&whole);
        let mut offset = 0;
        let parts = contents.iter().map(|content| {
            let part = BlobPart {
                blob: id,
                offset,
                size: content.len(),
            };
            offset += content.len();
            (part.size > 0).then_some(part)
        });
        Some(Self {
            parts: parts.collect(),
            blob: Blob { id, content: whole },
            since: None,
            call: rand::random(),
        })
    }

    /// Where the content of the item at this place is.
    pub(in super::super) fn part(&self, at: usize) -> Option<&BlobPart> {
        self.parts.get(at)?.as_ref()
    }

    /// The condition that the blob is still there.
    pub(in super::super) fn condition(&self, core: &Core) -> Option<Compare> {
        let since = self.since?;
        Some(Compare::create_revision(
            core.keys.blob(&self.blob.id),
            since,
        ))
    }

    /// The mark that these versions have their contents in the blob.
    pub(in super::super) fn mark(
        &self,
        core: &Core,
        entries: &[Entry],
        planned: &[Option<ConfigVersion>],
    ) -> Option<Step> {
        let versions = entries.iter().zip(planned).zip(&self.parts);
        let users: Vec<(&ConfigPath, i64)> = versions
            .filter(|(_, part)| part.is_some())
            .filter_map(|((entry, version), _)| Some((&entry.path, version.as_ref()?.version)))
            .collect();
        let (path, version) = *users.first()?;
        let key = core.keys.blob_use(&self.blob.id, path, version, self.call);
        Some(Step::put(key, records::encode_blob_use(&users)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::domain::{
        config::{Body, Operation},
        names::Label,
    };

    fn version(content: Vec<u8>) -> Option<ConfigVersion> {
        Some(ConfigVersion {
            version: 1,
            prev_version: 0,
            size: content.len(),
            checksum: [0; 32],
            body: Body {
                content: content.into(),
                ..Body::default()
            },
            actor: Label::default(),
            comment: String::new(),
            create_time: SystemTime::UNIX_EPOCH,
            operation: Operation::Put,
            rollback_of: 0,
            deleted: false,
            request_id: String::new(),
            release: None,
            revision: 0,
        })
    }

    #[test]
    fn contents_stay_with_their_versions_while_both_fit() {
        assert!(Apart::of(&[version(vec![0; INLINE])]).is_none());
        assert!(Apart::of(&[version(vec![0; INLINE + 1])]).is_some());
        let four = vec![version(vec![0; INLINE]); 4];
        assert!(Apart::of(&four).is_none());
        assert!(Apart::of(&[four, vec![version(vec![0])]].concat()).is_some());
    }

    #[test]
    fn contents_stand_one_after_the_other() {
        let planned = [
            version(vec![1; INLINE + 1]),
            None,
            version(Vec::new()),
            version(vec![2; 3]),
        ];
        let apart = Apart::of(&planned).unwrap();
        let part = |at| apart.part(at).map(|part| (part.offset, part.size));
        assert_eq!(part(0), Some((0, INLINE + 1)));
        assert_eq!((part(1), part(2)), (None, None));
        assert_eq!(part(3), Some((INLINE + 1, 3)));
        assert_eq!(apart.part(3).unwrap().pieces(), (1, 2));
        assert_eq!(apart.part(0).unwrap().pieces(), (0, 2));
        assert_eq!(apart.blob.id, BlobId::of(&apart.blob.content));
    }
}
