//! Grants and revocations. Ids are chosen by us, so both may be repeated at will.

use std::time::Duration;

use etcd_client::LeaseGrantOptions;

use super::{
    error::{is_full, is_lease_exists, with_outcome},
    pool::{Call, Pool, Prefer, Repeat},
};
use crate::store::{Error, LeaseId, Outcome};

/// Creates a lease, or finds it, and returns its granted time to live.
pub(super) async fn grant(pool: &Pool, id: LeaseId, ttl: Duration) -> Result<Duration, Error> {
    let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    let call = Call {
        name: "etcd.lease.grant",
        prefer: Prefer::Leader,
        repeat: Repeat::Idempotent,
    };
    let granted = pool
        .call(call, |member| {
            let mut lease = member.lease.clone();
            async move {
                let options = LeaseGrantOptions::new().with_id(id);
                match lease.grant(seconds, Some(options)).await {
                    Ok(granted) => Ok(granted.ttl()),
                    Err(error) if is_lease_exists(&error) => {
                        let found = lease.time_to_live(id, None).await?;
                        Ok(found.granted_ttl())
                    }
                    // A full etcd may refuse what it has granted.
                    Err(error) if is_full(&error) => {
                        let found = lease.time_to_live(id, None).await?;
                        match found.granted_ttl() {
                            0 => Err(error),
                            granted => Ok(granted),
                        }
                    }
                    Err(error) => Err(error),
                }
            }
        })
        .await
        .map_err(|error| match error {
            // An earlier attempt may be granted late: a lease that nobody knows ends by itself.
            full @ Error::Full { .. } => with_outcome(full, Outcome::NotDone),
            error => error,
        })?;
    match u64::try_from(granted) {
        Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        // It was there and ended before it could be looked at.
        _ => Err(Error::LeaseNotFound),
    }
}

/// Ends a lease; finding it ended is success.
pub(super) async fn revoke(pool: &Pool, id: LeaseId) -> Result<(), Error> {
    let call = Call {
        name: "etcd.lease.revoke",
        prefer: Prefer::Leader,
        repeat: Repeat::Idempotent,
    };
    let result = pool
        .call(call, |member| {
            let mut lease = member.lease.clone();
            async move { lease.revoke(id).await }
        })
        .await;
    match result {
        Ok(_) | Err(Error::LeaseNotFound) => Ok(()),
        Err(error) => Err(error),
    }
}
