//! Writes what the subscribers watch.

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use tonic::transport::Channel;

use crate::{BenchError, due::wait_until, subscribers::Tally, target::Site};

/// Writes values that say when they were due.
pub(crate) struct Writer<'a> {
    site: &'a Site,
    channel: Channel,
    tally: &'a Tally,
}

// === impl Writer ===

impl<'a> Writer<'a> {
    /// A writer with a connection of its own.
    pub(crate) async fn connect(site: &'a Site, tally: &'a Tally) -> Result<Self, BenchError> {
        Ok(Self {
            channel: site.connect().await?,
            site,
            tally,
        })
    }

    /// Writes a value that is due then, and tells the revision after it.
    pub(crate) async fn write(&self, key: &str, due: Instant) -> Result<i64, BenchError> {
        let value = self.tally.clock.value(due);
        Ok(self.site.dialect().put(&self.channel, key, value).await?)
    }

    /// Writes to all keys at the same time.
    pub(crate) async fn burst(&self, keys: &[String]) -> Result<(), BenchError> {
        let due = Instant::now();
        try_join_all(keys.iter().map(|key| self.write(key, due))).await?;
        Ok(())
    }

    /// Writes so many values, each when it is due or as soon as the one before is answered, and
    /// waits until all watchers have them. Too few deliveries are no error: the sample tells.
    pub(crate) async fn write_at_rate(
        &self,
        key: &str,
        (count, rate): (u32, u32),
    ) -> Result<(), BenchError> {
        let delivered = self.tally.delivered.load(Relaxed);
        let begun = Instant::now();
        for number in 0..count {
            let due = begun + Duration::from_secs(1) * number / rate;
            wait_until(due).await;
            self.write(key, due).await?;
        }
        self.tally.wait_for_values(delivered, count).await?;
        Ok(())
    }
}
