//! Deleting blobs that no version needs: those of writes that were broken off, and those whose
//! versions are gone. One replica does it, chosen by rank; that two do is harmless.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::{
    domain::{Core, Error, keyspace::ConfigPath, records, replica},
    store::{Compare, KeyRange, KeyValue, Operation as Step, OperationResponse, RangeRequest, Txn},
};

use super::BlobId;

/// How many blobs are listed at a time.
const BLOBS: usize = 500;
/// How many marks of one blob are looked at in one go.
const MARKS: usize = 100;
/// The piece of work that replicas rank for.
const SUBJECT: &[u8] = b"blobs";

/// Looks for blobs that nobody needs.
pub struct BlobSweep {
    core: Arc<Core>,
}

// === impl BlobSweep ===

impl BlobSweep {
    /// The sweep of the store that `core` works with.
    pub fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// Sweeps from time to time, until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.core.clock.sleep(self.core.settings.blob_sweep_interval) => {}
            }
            if let Err(error) = self.step(&stop).await {
                tracing::warn!(%error, "contents that nobody needs are kept for now");
            }
        }
    }

    async fn step(&self, stop: &CancellationToken) -> Result<(), Error> {
        let view = self.core.cache.view()?;
        if replica::rank(&self.core.replica, view.state.replicas.keys(), SUBJECT) > 0 {
            return Ok(());
        }
        let mut keys = self.core.keys.blobs();
        loop {
            let request = RangeRequest::new(keys.clone()).limit(BLOBS);
            let found = self.core.store.range(request).await.map_err(Error::Store)?;
            for kv in &found.kvs {
                if stop.is_cancelled() {
                    return Ok(());
                }
                // Others go on: it may be this one that is damaged.
                if let Err(error) = self.core.sweep_blob(kv).await {
                    let key = String::from_utf8_lossy(&kv.key);
                    tracing::warn!(%key, %error, "contents are kept for now, needed or not");
                }
            }
            match found.kvs.last() {
                Some(last) if found.more => keys.start = [&last.key[..], b"\0"].concat().into(),
                _ => return Ok(()),
            }
        }
    }
}

// === impl Core ===

impl Core {
    /// Deletes a blob if no version has its content there and it is old enough. Nothing is put: a
    /// full store takes it too.
    async fn sweep_blob(&self, kv: &KeyValue) -> Result<(), Error> {
        let undecodable = |error| Error::Internal(format!("the record cannot be decoded: {error}"));
        let Some(id) = self.keys.parse_blob(&kv.key) else {
            return Ok(());
        };
        let written = records::blob(kv).map_err(undecodable)?;
        let age = self.clock.system_time().duration_since(written);
        // Of one of the future the age is not known.
        if age.is_ok_and(|age| age < self.settings.blob_keep) || self.is_used(&id).await? {
            return Ok(());
        }
        let unused = Txn::new()
            .when(Compare::mod_revision(kv.key.clone(), kv.mod_revision))
            .when(Compare::empty(self.keys.blob_uses(&id)))
            .then(Step::delete(kv.key.clone()))
            .then(Step::Delete(self.keys.blob_pieces(&id)));
        // No cache shows it, and an answer that is lost is repeated by the next sweep.
        let deleted = self.store.txn(unused).await.map_err(Error::Store)?;
        if deleted.succeeded {
            tracing::info!(blob = %id, "contents that no version has any more were deleted");
        }
        Ok(())
    }

    /// Whether a version may have its content in a blob. Marks of versions that are gone go too.
    ///
    /// A mark is written with its versions, and read before they are looked for: those that are not
    /// there by then were deleted. Should they be made again, it is with a mark of their own.
    async fn is_used(&self, id: &BlobId) -> Result<bool, Error> {
        let marks = RangeRequest::new(self.keys.blob_uses(id)).limit(MARKS);
        let marks = self.store.range(marks).await.map_err(Error::Store)?;
        for mark in &marks.kvs {
            let versions = records::blob_use(mark)
                .map_err(|error| Error::Internal(format!("a mark cannot be decoded: {error}")))?;
            if self.is_any_kept(&versions).await? {
                return Ok(true);
            }
            let void = Txn::new()
                .when(Compare::mod_revision(mark.key.clone(), mark.mod_revision))
                .then(Step::delete(mark.key.clone()));
            self.store.txn(void).await.map_err(Error::Store)?;
        }
        Ok(marks.more)
    }

    async fn is_any_kept(&self, versions: &[(ConfigPath, i64)]) -> Result<bool, Error> {
        let look = |(path, version): &(ConfigPath, i64)| {
            let key = KeyRange::key(self.keys.config_version(path, *version));
            Step::Range(RangeRequest::new(key).keys_only())
        };
        let looks = Txn::new().then_all(versions.iter().map(look));
        let found = self.store.txn(looks).await.map_err(Error::Store)?;
        Ok(found.responses.iter().any(
            |response| matches!(response, OperationResponse::Range(range) if !range.kvs.is_empty()),
        ))
    }
}
