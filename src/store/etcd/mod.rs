//! The store in an etcd cluster.
//!
//! A pool keeps one client per endpoint, each with a connection (`connection`) for calls and the
//! watch and one for leases (`member`), over TLS (`tls`) and with a user's token (`login`) where that
//! is wanted, asks the cluster now and then which members there are (`members`), and decides who is
//! called (`pool`).
//! Calls that fail go to another member when repeating them is safe; watches (`watch`) and renewals
//! (`keepalive`) reopen their streams by themselves. Nothing of the client library leaves this module.

mod answer;
mod connection;
mod error;
mod events;
mod keepalive;
mod kv;
mod lane;
mod leadership;
mod lease;
mod link;
mod login;
mod member;
mod members;
mod pool;
mod settings;
mod status;
mod tls;
mod txn;
mod version;
mod watch;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::settings::Settings;
use self::{
    keepalive::Renewals,
    pool::{Pool, Prefer},
    status::Timeline,
};
use super::{
    Error, LeaseId, RangeRequest, RangeResponse, Renewal, Revision, Status, Store, Txn,
    TxnResponse, Watch,
};
use crate::clock::Clock;

/// A store in an etcd cluster. Dropping it ends its tasks and its watches.
pub struct EtcdStore {
    pool: Arc<Pool>,
    renewals: Renewals,
    timeline: Timeline,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

// === impl EtcdStore ===

impl EtcdStore {
    /// Connects to a cluster.
    ///
    /// Errors: [`Error::Unavailable`] when no member answers; [`Error::Denied`] when etcd refuses
    /// our user or its rights; [`Error::Invalid`] when a member is older than 3.5.13 (unless
    /// [`Settings::allow_old`]), when the endpoints belong to different clusters, when one is no
    /// address, or when a file of TLS cannot be used.
    pub async fn connect(settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let pool = Arc::new(Pool::connect(settings).await?);
        let stop = CancellationToken::new();
        pool.spawn_probes(&stop);
        tokio::spawn(
            stop.clone()
                .run_until_cancelled_owned(members::keep(Arc::clone(&pool), stop.clone())),
        );
        let renewals = Renewals::spawn(&pool, &clock, &stop);
        Ok(Self {
            pool,
            renewals,
            timeline: Timeline::new(),
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
        })
    }
}

#[async_trait]
impl Store for EtcdStore {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        kv::range(&self.pool, Prefer::Any, request).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, Error> {
        txn::txn(&self.pool, txn).await
    }

    async fn grant(&self, id: LeaseId, ttl: Duration) -> Result<Duration, Error> {
        lease::grant(&self.pool, id, ttl).await
    }

    async fn keep_alive(&self, id: LeaseId) -> Result<Renewal, Error> {
        self.renewals.renew(id).await
    }

    async fn revoke(&self, id: LeaseId) -> Result<(), Error> {
        lease::revoke(&self.pool, id).await
    }

    async fn watch(&self, prefix: Bytes, from: Revision) -> Result<Watch, Error> {
        watch::watch(&self.pool, prefix, from, &self.stop).await
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        kv::compact(&self.pool, revision).await
    }

    async fn status(&self) -> Result<Status, Error> {
        status::status(&self.pool, &self.timeline).await
    }

    fn doubts_renewals(&self) -> bool {
        let members = self.pool.members();
        let mut versions = members.iter().filter_map(|member| member.version());
        versions.any(|version| !version.has_safe_renewals())
    }

    fn term(&self) -> u64 {
        let members = self.pool.members();
        let terms = members.iter().map(|member| member.term());
        terms.max().unwrap_or_default()
    }
}
