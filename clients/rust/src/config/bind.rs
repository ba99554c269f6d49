//! A config bound to a type: how to read it, and from where.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    Configs, Value,
    failover::Failover,
    keep::{Keeper, Offer},
    live::Live,
    origin::Current,
    snapshot::Snapshot,
};
use crate::{
    error::{Error, Result},
    proto::{Config, ErrorReason},
};

/// Why something does not decode.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

pub(super) type Decode<T> = Arc<dyn Fn(&Config) -> Result<T, BoxError> + Send + Sync>;

/// Where a bound config comes from beside the service.
#[derive(Debug, Clone)]
pub struct BindOptions {
    /// Where an operator may put files that count before the service:
    /// `<directory>/<namespace>/<key>`, the namespace `default` written out. Default: nowhere.
    pub failover_dir: Option<PathBuf>,
    /// How often that is looked for. Default 1 s.
    pub failover_interval: Duration,
    /// Where the last good version is kept for when no server answers, readable by the user of the
    /// program alone. Programs may share it. Default: nowhere.
    pub snapshot_dir: Option<PathBuf>,
    /// How old a snapshot may be to be used. One that gets older in use stays, with a
    /// [`Problem`](super::Problem). Default: as old as it is.
    pub snapshot_max_age: Option<Duration>,
    /// How often the snapshot is told that it is still current; to that extent it may look older
    /// than it is. Default 5 min.
    pub snapshot_interval: Duration,
    /// How long the service may take to answer first, before the snapshot counts. Default 3 s.
    pub patience: Duration,
}

/// A config about to be bound. See [`Configs::bind_with`].
#[must_use = "nothing is read before `start`"]
pub struct Bind<T> {
    configs: Configs,
    key: String,
    decode: Decode<T>,
    options: BindOptions,
}

// === impl BindOptions ===

impl Default for BindOptions {
    fn default() -> Self {
        Self {
            failover_dir: None,
            failover_interval: Duration::from_secs(1),
            snapshot_dir: None,
            snapshot_max_age: None,
            snapshot_interval: Duration::from_secs(300),
            patience: Duration::from_secs(3),
        }
    }
}

// === impl Bind ===

impl<T: Send + Sync + 'static> Bind<T> {
    pub(super) fn new(configs: Configs, key: &str, decode: Decode<T>) -> Self {
        Self {
            configs,
            key: key.into(),
            decode,
            options: BindOptions::default(),
        }
    }

    /// Where it comes from beside the service.
    pub fn options(mut self, options: BindOptions) -> Self {
        self.options = options;
        self
    }

    /// Reads the config: from the failover directory, else from the service, else from the
    /// snapshot; then keeps it current. What does not decode is passed over.
    ///
    /// Fails if nothing is found that decodes: with `NOT_FOUND` if the service knows no such config,
    /// with `UNAVAILABLE` if it does not answer, with `FAILED_PRECONDITION` if what it says does not
    /// decode. Does not ask for the snapshot if the service says that there is no config.
    pub async fn start(self) -> Result<Live<T>> {
        let namespace = self.configs.client.namespace();
        let failover = self.options.failover_dir.as_deref();
        let snapshot = self.options.snapshot_dir.as_deref();
        let mut keeper = Keeper {
            failover: failover
                .map(|directory| Failover::new(directory, namespace, &self.key))
                .transpose()?,
            snapshot: snapshot
                .map(|directory| Snapshot::new(directory, namespace, &self.key))
                .transpose()?,
            snapshot_max_age: self.options.snapshot_max_age,
            value: self.configs.watch(&self.key),
            decode: self.decode.clone(),
            offered: None,
            saved: None,
        };
        let first = self.first(&mut keeper).await?;
        Ok(Live::keep(keeper, first, &self.options))
    }

    async fn first(&self, keeper: &mut Keeper<T>) -> Result<Current<T>> {
        let mut problem = None;
        let snapshot = keeper.snapshot().await;
        if let Offer::Config(_, config) = &snapshot {
            keeper.saved = Some(config.clone());
        }
        if let Some(current) = keeper.first(keeper.failover().await, &mut problem) {
            return Ok(current);
        }
        let refusal = match self.answer(&keeper.value).await {
            Ok(()) => match keeper.service() {
                Offer::Deleted => return Err(none(&self.key)),
                offer => {
                    if let Some(current) = keeper.first(offer, &mut problem) {
                        keeper.save().await;
                        return Ok(current);
                    }
                    undecodable(&self.key)
                }
            },
            Err(error) if error.is_unreachable() => error,
            Err(error) => return Err(error),
        };
        if let Some(current) = keeper.first(snapshot, &mut problem) {
            return Ok(current);
        }
        Err(match problem {
            Some(problem) => refusal.with_note(&problem.to_string()),
            None => refusal,
        })
    }

    /// Waits for the first answer of the service.
    async fn answer(&self, value: &Value) -> Result<()> {
        let patience = self.options.patience;
        match tokio::time::timeout(patience, value.ready()).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::silent(patience)),
        }
    }
}

impl<T> std::fmt::Debug for Bind<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bind")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// How long ago that was; no time at all if it is to come.
pub(super) fn age(moment: SystemTime) -> Duration {
    moment.elapsed().unwrap_or_default()
}

fn none(key: &str) -> Error {
    Error::client(
        tonic::Code::NotFound,
        ErrorReason::ConfigNotFound,
        format!("there is no config {key}"),
    )
}

fn undecodable(key: &str) -> Error {
    Error::client(
        tonic::Code::FailedPrecondition,
        ErrorReason::Unspecified,
        format!("{key} cannot be used"),
    )
}
