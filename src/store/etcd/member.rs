//! One member of the cluster: its connections, and what is known of its health.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use etcd_client::{Channel, ClusterClient, KvClient, LeaseClient, MaintenanceClient, WatchClient};
use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    error::{from_client, with_outcome},
    lane::{Lanes, client},
    login::Login,
    settings::Settings,
    version::Version,
};
use crate::store::{Error, Outcome};

/// One endpoint, with a connection for calls and the watch, and one for leases, so that heartbeats
/// wait behind nothing. Nothing connects before its first call, and each lane reconnects by itself.
///
/// etcd sends the answer to a write and the event that tells of it with one system call if they go
/// the same way, and so wakes us once. A watch that is read slowly does not hold up calls: its
/// stream may fill less than half of what the connection takes. (etcd before 3.5.8 let calls hold up
/// watches, its issue 15402.)
pub(super) struct Member {
    /// As the settings or the cluster's list name it.
    pub(super) endpoint: String,
    /// Lane kv.
    pub(super) kv: KvClient,
    /// Lane kv.
    pub(super) cluster: ClusterClient,
    maintenance: MaintenanceClient,
    /// Lane kv; streams end when the member loses its leader.
    pub(super) watch: WatchClient,
    /// Lane lease.
    pub(super) lease: LeaseClient,
    /// Lane lease, for renewals of many leases on one stream.
    pub(super) lease_channel: Channel,
    /// Whose token goes with all of it; none without a user.
    login: Option<Arc<Login>>,
    health: Mutex<Health>,
    /// Wakes the probe when a call failed.
    pub(super) suspected: Notify,
    /// Wakes who is connected when a probe failed.
    failed: Notify,
    /// Cancelled when the member is not used any more: what runs on it ends or moves.
    pub(super) left: CancellationToken,
}

/// What the last probe or call said of a member.
#[derive(Debug, Default)]
struct Health {
    /// Why the member is not used while others can be.
    broken: Option<String>,
    /// What it said of itself when last asked.
    report: Option<Report>,
}

/// A member's own view.
#[derive(Debug, Clone, Default)]
pub(super) struct Report {
    pub(super) version: String,
    pub(super) cluster_id: u64,
    pub(super) member_id: u64,
    /// Whether it is the leader.
    pub(super) leads: bool,
    /// Whether it knows a leader.
    pub(super) has_leader: bool,
    /// The raft term it is in.
    pub(super) term: u64,
    pub(super) revision: i64,
    /// The last raft entry it has applied.
    pub(super) applied: i64,
    /// Alarms and the like.
    pub(super) errors: Vec<String>,
}

// === impl Member ===

impl Member {
    pub(super) async fn new(endpoint: &str, settings: &Settings) -> Result<Self, Error> {
        let lanes = Lanes::new(endpoint, settings).await?;
        let lane = lanes.open();
        let calls = client(lane.clone(), false).await?;
        let streams = client(lane, true).await?;
        let lease_channel = lanes.open();
        let leases = client(lease_channel.clone(), false).await?;
        let max = settings.max_message;
        Ok(Self {
            endpoint: endpoint.to_owned(),
            kv: calls.kv_client().max_decoding_message_size(max),
            cluster: calls.cluster_client(),
            maintenance: calls.maintenance_client(),
            watch: streams.watch_client().max_decoding_message_size(max),
            lease: leases.lease_client(),
            lease_channel,
            login: lanes.login,
            health: Mutex::default(),
            suspected: Notify::new(),
            failed: Notify::new(),
            left: CancellationToken::new(),
        })
    }

    /// Says whether calls should go to this member.
    pub(super) fn is_good(&self) -> bool {
        self.standing().0
    }

    /// Whether calls should go to this member, and whether it leads.
    pub(super) fn standing(&self) -> (bool, bool) {
        let health = self.lock();
        match &health.report {
            Some(report) => (health.broken.is_none() && report.has_leader, report.leads),
            None => (health.broken.is_none(), false),
        }
    }

    pub(super) fn version(&self) -> Option<Version> {
        self.lock().report.as_ref()?.version.parse().ok()
    }

    /// Makes a call, and the same once more when the token it carried was refused: then nothing was
    /// done, and the second carries a new one.
    pub(super) async fn ask<T, F, R>(&self, within: Duration, request: F) -> Result<T, Error>
    where
        F: Fn() -> R,
        R: Future<Output = Result<T, etcd_client::Error>>,
    {
        let once = || async {
            match timeout(within, request()).await {
                Ok(result) => result.map_err(from_client),
                Err(_) => Err(Error::Timeout {
                    outcome: Outcome::Unknown,
                }),
            }
        };
        match once().await {
            Err(Error::Denied(_)) if self.login.is_some() => once().await,
            result => result,
        }
    }

    /// Has the next call or stream carry a new token; says whether there are tokens at all.
    pub(super) fn renew_token(&self) -> bool {
        if let Some(login) = &self.login {
            login.forget();
        }
        self.login.is_some()
    }

    /// Its id in the cluster, as far as it was ever asked.
    pub(super) fn id(&self) -> Option<u64> {
        Some(self.lock().report.as_ref()?.member_id)
    }

    /// The raft term it was in when it was last asked; 0: it never answered.
    pub(super) fn term(&self) -> u64 {
        self.lock().report.as_ref().map_or(0, |report| report.term)
    }

    /// Asks the member for its status and notes what came of it.
    pub(super) async fn probe(&self, within: Duration) -> Result<Report, Error> {
        let answer = self.report(within).await;
        self.note(&answer);
        answer
    }

    /// Asks the member for its status.
    pub(super) async fn report(&self, within: Duration) -> Result<Report, Error> {
        let status = || {
            let mut maintenance = self.maintenance.clone();
            async move { maintenance.status().await }
        };
        match self.ask(within, status).await {
            Ok(status) => Ok(Report::from(&status)),
            Err(error) => Err(with_outcome(error, Outcome::NotDone)),
        }
    }

    /// Notes what came of asking the member for its status.
    pub(super) fn note(&self, answer: &Result<Report, Error>) {
        let mut health = self.lock();
        match answer {
            Ok(report) => {
                health.report = Some(report.clone());
                health.mend(&self.endpoint);
            }
            Err(error) => {
                health.fail(&self.endpoint, error);
                self.failed.notify_waiters();
            }
        }
    }

    /// Completes when the member does not tell its status: a stream on it may hang without ending.
    pub(super) async fn unresponsive(&self) {
        self.failed.notified().await;
    }

    /// Notes that a call failed in a way that may be this member's fault.
    pub(super) fn suspect(&self, error: &Error) {
        self.lock().fail(&self.endpoint, error);
        self.suspected.notify_one();
    }

    /// Notes that a call succeeded.
    pub(super) fn mend(&self) {
        self.lock().mend(&self.endpoint);
    }

    fn lock(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Health ===

impl Health {
    fn fail(&mut self, endpoint: &str, error: &Error) {
        if self.broken.is_none() {
            tracing::warn!(endpoint, %error, "an etcd member does not answer");
        }
        self.broken = Some(error.to_string());
        // Whoever led may not lead any more.
        if let Some(report) = &mut self.report {
            report.leads = false;
        }
    }

    fn mend(&mut self, endpoint: &str) {
        if self.broken.take().is_some() {
            tracing::info!(endpoint, "an etcd member answers again");
        }
    }
}

// === impl Report ===

impl From<&etcd_client::StatusResponse> for Report {
    fn from(status: &etcd_client::StatusResponse) -> Self {
        let (cluster_id, member_id, revision) = status.header().map_or((0, 0, 0), |header| {
            (header.cluster_id(), header.member_id(), header.revision())
        });
        // Indexes count raft entries: they do not reach the sign bit.
        let applied = i64::try_from(status.raft_applied_index()).unwrap_or(i64::MAX);
        Self {
            version: status.version().to_owned(),
            cluster_id,
            member_id,
            leads: status.leader() == member_id,
            has_leader: status.leader() != 0,
            term: status.raft_term(),
            revision,
            applied,
            errors: status.errors().to_vec(),
        }
    }
}
