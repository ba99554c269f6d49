//! Reading the chain.

use crate::{
    domain::{
        Core, Error,
        names::Namespace,
        records::{self, DecodeError},
    },
    store::{KeyValue, RangeRequest, Revision},
};

use super::Seal;

/// A stretch and where it is.
pub(super) struct Found {
    /// Its number among the stretches of the namespace, from 1.
    pub(super) number: i64,
    pub(super) seal: Result<Seal, DecodeError>,
    /// The revision that wrote it.
    pub(super) mod_revision: Revision,
}

// === impl Core ===

impl Core {
    /// Reads stretches, the newest first: at most `limit` of those with the number `from` and less,
    /// as of `revision` (`0`: now).
    pub(super) async fn seals(
        &self,
        namespace: &Namespace,
        from: i64,
        limit: usize,
        revision: Revision,
    ) -> Result<Vec<Found>, Error> {
        let keys = self.keys.seals_up_to(namespace, from);
        let request = RangeRequest::new(keys).limit(limit).at(revision);
        let found = self.store.range(request).await.map_err(Error::Store)?;
        found.kvs.iter().map(|kv| self.found(kv)).collect()
    }

    /// The number of the oldest stretch that is kept, among those up to `newest`; `0`: none.
    pub(super) async fn oldest_seal(
        &self,
        namespace: &Namespace,
        newest: i64,
        revision: Revision,
    ) -> Result<i64, Error> {
        let (mut low, mut oldest) = (1, 0);
        let mut high = newest;
        // Nothing is kept below `low`; of what is up to `high` it is not known.
        while low <= high {
            let middle = low + (high - low) / 2;
            let keys = self.keys.seals_up_to(namespace, middle);
            let request = RangeRequest::new(keys).limit(1).keys_only().at(revision);
            let found = self.store.range(request).await.map_err(Error::Store)?;
            match found.kvs.first() {
                Some(kv) => {
                    oldest = self.keys.parse_seal(&kv.key).unwrap_or(middle);
                    high = oldest - 1;
                }
                None => low = middle + 1,
            }
        }
        Ok(oldest)
    }

    fn found(&self, kv: &KeyValue) -> Result<Found, Error> {
        let number = self.keys.parse_seal(&kv.key).ok_or_else(|| {
            let key = String::from_utf8_lossy(&kv.key);
            Error::Internal(format!("the key {key} is none of a seal"))
        })?;
        Ok(Found {
            number,
            seal: records::audit_seal(kv),
            mod_revision: kv.mod_revision,
        })
    }
}

// === impl Found ===

impl Found {
    /// The stretch. One that cannot be read is found by a verification; nothing can follow it.
    pub(super) fn readable(&self) -> Result<&Seal, Error> {
        let unreadable = |error: &DecodeError| {
            let number = self.number;
            Error::Internal(format!("seal {number} of the audit is damaged: {error}"))
        };
        self.seal.as_ref().map_err(unreadable)
    }
}
