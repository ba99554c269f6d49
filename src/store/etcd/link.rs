//! What a watch's task and its reader share: which member carries the watch, and what is wanted of
//! it.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Notify;

use super::{
    kv,
    member::Member,
    pool::{Pool, Prefer},
};
use crate::store::{Error, Extent, Probe, Revision};

pub(super) struct Link {
    pool: Arc<Pool>,
    prefix: Bytes,
    carrier: Mutex<Option<Carrier>>,
    /// Somebody wants to know how far the watch is.
    pub(super) wanted: Notify,
}

/// The member that carries a watch.
#[derive(Clone)]
pub(super) struct Carrier {
    pub(super) member: Arc<Member>,
    /// Its word on requested progress can be trusted.
    pub(super) safe: bool,
}

// === impl Link ===

impl Link {
    pub(super) fn new(pool: &Arc<Pool>, prefix: &Bytes) -> Self {
        Self {
            pool: Arc::clone(pool),
            prefix: prefix.clone(),
            carrier: Mutex::default(),
            wanted: Notify::new(),
        }
    }

    /// Notes what carries the watch now; nothing does while it is reopened.
    pub(super) fn carried_by(&self, carrier: Option<Carrier>) {
        *self.carrier.lock().unwrap_or_else(PoisonError::into_inner) = carrier;
    }

    fn carrier(&self) -> Option<Carrier> {
        self.carrier
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[async_trait]
impl Probe for Link {
    async fn current_revision(&self) -> Result<Revision, Error> {
        // The member that carries the watch: another may be ahead of it by then.
        let carrier = self.carrier();
        let prefer = carrier.map_or(Prefer::Any, |carrier| Prefer::Member(carrier.member));
        kv::current_revision(&self.pool, prefer, &self.prefix).await
    }

    async fn extent(&self, applied: Revision) -> Result<Option<Extent>, Error> {
        match self.carrier() {
            Some(Carrier {
                member,
                safe: false,
            }) => {
                let prefer = Prefer::Member(member);
                let extent = kv::extent(&self.pool, prefer, &self.prefix, applied).await?;
                Ok(Some(extent))
            }
            _ => Ok(None),
        }
    }

    async fn request_progress(&self) {
        self.wanted.notify_one();
    }
}
