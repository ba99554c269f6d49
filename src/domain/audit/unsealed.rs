//! Reading what is not in the chain yet.

use bytes::Bytes;

use crate::{
    domain::{Core, Error, names::Namespace},
    store::{KeyRange, KeyValue, RangeRequest, Revision},
};

/// How many entries are read at a time: some 1 MiB.
const PAGE: usize = 500;

// === impl Core ===

impl Core {
    /// Shows `each` of the entries that a range of keys holds, as of `revision` (`0`: now). Returns
    /// the revision that was shown.
    ///
    /// All pages are read at one revision: whatever was written by then is shown, and whatever is
    /// not was written later.
    pub(super) async fn unsealed(
        &self,
        keys: KeyRange,
        keys_only: bool,
        mut revision: Revision,
        mut each: impl FnMut(KeyValue),
    ) -> Result<Revision, Error> {
        let mut rest = keys;
        loop {
            let mut request = RangeRequest::new(rest.clone()).limit(PAGE).at(revision);
            request.keys_only = keys_only;
            let page = self.store.range(request).await.map_err(Error::Store)?;
            if revision == 0 {
                revision = page.revision;
            }
            if let (true, Some(last)) = (page.more, page.kvs.last()) {
                rest.start = [&last.key[..], b"\0"].concat().into();
            } else {
                page.kvs.into_iter().for_each(&mut each);
                return Ok(revision);
            }
            page.kvs.into_iter().for_each(&mut each);
        }
    }

    /// The key of an entry.
    pub(super) fn unsealed_key(&self, namespace: &Namespace, id: &[u8]) -> Bytes {
        let room = self.keys.unsealed_in(namespace).start;
        [&room[..], id].concat().into()
    }
}
