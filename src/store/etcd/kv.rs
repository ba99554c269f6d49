//! Reads and compaction: the port's words in etcd's.

use std::time::Duration;

use bytes::Bytes;
use etcd_client::{GetOptions, SortOrder, SortTarget, proto::PbKeyValue, proto::PbRangeResponse};

use super::{
    member::Member,
    pool::{Call, Pool, Prefer, Repeat},
};
use crate::store::{Error, Extent, KeyRange, KeyValue, RangeRequest, RangeResponse, Revision};

/// Reads keys, on any member: for a linearizable read it asks the leader how far it has to be.
pub(super) async fn range(
    pool: &Pool,
    prefer: Prefer,
    request: RangeRequest,
) -> Result<RangeResponse, Error> {
    let call = Call {
        name: "etcd.range",
        prefer,
        repeat: Repeat::Read,
    };
    let mut response = pool
        .call(call, |member| {
            let (key, options) = get_options(&request);
            let mut kv = member.kv.clone();
            async move { kv.get(key, Some(options)).await }
        })
        .await?;
    let revision = response.header().map_or(0, |header| header.revision());
    Ok(range_response(std::mem::take(&mut response.0), revision))
}

/// The revision as a quorum knows it, by the cheapest read there is.
pub(super) async fn current_revision(
    pool: &Pool,
    prefer: Prefer,
    key: &Bytes,
) -> Result<Revision, Error> {
    let request = RangeRequest::new(KeyRange::key(key.clone()))
        .limit(1)
        .keys_only();
    Ok(range(pool, prefer, request).await?.revision)
}

/// The raft term in which a majority let a member answer a read of `key`.
pub(super) async fn term(member: &Member, key: &str, within: Duration) -> Result<u64, Error> {
    let read = || {
        let mut kv = member.kv.clone();
        let options = GetOptions::new().with_limit(1).with_keys_only();
        async move { kv.get(key, Some(options)).await }
    };
    let answer = member.ask(within, read).await?;
    Ok(answer.header().map_or(0, |header| header.raft_term()))
}

/// What the keys that start with `prefix` amount to, with the newest write after `since`.
pub(super) async fn extent(
    pool: &Pool,
    prefer: Prefer,
    prefix: &Bytes,
    since: Revision,
) -> Result<Extent, Error> {
    let call = Call {
        name: "etcd.extent",
        prefer,
        repeat: Repeat::Read,
    };
    // The count is that of all keys, whatever the filter and the limit leave out.
    let options = GetOptions::new()
        .with_prefix()
        .with_keys_only()
        .with_min_mod_revision(since + 1)
        .with_sort(SortTarget::Mod, SortOrder::Descend)
        .with_limit(1);
    let answer = pool
        .call(call, |member| {
            let mut kv = member.kv.clone();
            let (prefix, options) = (prefix.to_vec(), options.clone());
            async move { kv.get(prefix, Some(options)).await }
        })
        .await?;
    Ok(Extent {
        revision: answer.header().map_or(0, |header| header.revision()),
        newest: answer.kvs().first().map_or(0, |kv| kv.mod_revision()),
        count: usize::try_from(answer.count()).unwrap_or(0),
    })
}

/// Forgets history; finding it forgotten is success.
pub(super) async fn compact(pool: &Pool, revision: Revision) -> Result<(), Error> {
    let call = Call {
        name: "etcd.compact",
        prefer: Prefer::Leader,
        repeat: Repeat::Idempotent,
    };
    let result = pool
        .call(call, |member| {
            let mut kv = member.kv.clone();
            async move { kv.compact(revision, None).await }
        })
        .await;
    match result {
        Ok(_) | Err(Error::Compacted { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

pub(super) fn get_options(request: &RangeRequest) -> (Vec<u8>, GetOptions) {
    let mut options = GetOptions::new()
        .with_limit(i64::try_from(request.limit).unwrap_or(i64::MAX))
        .with_revision(request.revision);
    if let Some(end) = &request.keys.end {
        options = options.with_range(end.to_vec());
    }
    if request.keys_only {
        options = options.with_keys_only();
    }
    if request.count_only {
        options = options.with_count_only();
    }
    if request.serializable {
        options = options.with_serializable();
    }
    (request.keys.start.to_vec(), options)
}

pub(super) fn range_response(response: PbRangeResponse, revision: Revision) -> RangeResponse {
    RangeResponse {
        kvs: response.kvs.into_iter().map(key_value).collect(),
        more: response.more,
        count: usize::try_from(response.count).unwrap_or(0),
        revision,
    }
}

pub(super) fn key_value(kv: PbKeyValue) -> KeyValue {
    KeyValue {
        key: kv.key.into(),
        value: kv.value.into(),
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
    }
}
