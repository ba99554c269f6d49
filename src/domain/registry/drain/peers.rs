//! What replicas ask each other.

use async_trait::async_trait;

use crate::domain::{error::Error, keyspace::ServiceKey, replica::Replica};

use crate::domain::registry::SubscriberInfo;

/// The other replicas.
#[async_trait]
pub trait Peers: Send + Sync + 'static {
    /// The subscribers of a service at a replica, after the one with the number `after`, at most
    /// `limit`. Fails if the replica does not answer soon.
    async fn subscribers(
        &self,
        replica: &Replica,
        service: &ServiceKey,
        after: u64,
        limit: usize,
    ) -> Result<Vec<SubscriberInfo>, Error>;
}
