//! The members together: which one a call goes to, and what happens when it fails.

use std::{future::Future, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use rand::{Rng as _, seq::SliceRandom as _};
use tokio::{sync::Notify, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{
    error::{self, with_outcome},
    kv,
    member::{Member, Report},
    settings::Settings,
    version::OLDEST,
};
use crate::store::{Error, KeyRange, Outcome, RangeRequest};

/// All members. The list is swapped whole when it changes.
pub(super) struct Pool {
    members: ArcSwap<Vec<Arc<Member>>>,
    /// The cluster they belong to.
    pub(super) cluster: u64,
    /// A member does not answer.
    pub(super) trouble: Notify,
    pub(super) settings: Settings,
}

/// One kind of call.
pub(super) struct Call {
    /// What it is called in traces.
    pub(super) name: &'static str,
    pub(super) prefer: Prefer,
    pub(super) repeat: Repeat,
}

/// Where a call goes first.
#[derive(Clone)]
pub(super) enum Prefer {
    /// To the leader, who decides writes and renewals: a follower passes them on.
    Leader,
    /// To any member that is well.
    Any,
    /// To this one.
    Member(Arc<Member>),
}

/// When a call that failed is sent once more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It changes nothing: whenever that may help.
    Read,
    /// It changes nothing the second time: whenever that may help.
    Idempotent,
    /// Only when it was certainly not carried out.
    NotDone,
}

/// Pauses that double and are jittered, so that replicas do not come back in step.
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

// === impl Pool ===

impl Pool {
    /// Makes the members and asks each for its status; at least one must answer, and none may be
    /// too old or of another cluster.
    pub(super) async fn connect(settings: Settings) -> Result<Self, Error> {
        if settings.endpoints.is_empty() {
            return Err(Error::Invalid("no etcd endpoint is given".to_owned()));
        }
        let mut members = Vec::new();
        for endpoint in &settings.endpoints {
            members.push(Arc::new(Member::new(endpoint, &settings).await?));
        }
        let mut pool = Self {
            members: ArcSwap::from_pointee(members),
            cluster: 0,
            trouble: Notify::new(),
            settings,
        };
        pool.cluster = pool.check().await?;
        Ok(pool)
    }

    pub(super) fn members(&self) -> Arc<Vec<Arc<Member>>> {
        self.members.load_full()
    }

    /// Asks every member for its status, at once.
    pub(super) async fn probe_all(&self) -> Vec<(Arc<Member>, Result<Report, Error>)> {
        let within = self.settings.probe_timeout;
        let members = self.members();
        let probes = members.iter().map(|member| async move {
            let result = member.probe(within).await;
            (Arc::clone(member), result)
        });
        join_all(probes).await
    }

    /// Looks at every member; returns the id of their cluster.
    async fn check(&self) -> Result<u64, Error> {
        let mut failures = Vec::new();
        let mut denied = None;
        let mut cluster = None;
        for (member, result) in self.probe_all().await {
            let report = match result {
                Ok(report) => report,
                Err(error) => {
                    failures.push(format!("{}: {error}", member.endpoint));
                    if let Error::Denied(_) = error {
                        denied = Some(error);
                    }
                    continue;
                }
            };
            if !self.settings.allow_old && member.version().is_none_or(|version| version < OLDEST) {
                return Err(Error::Invalid(format!(
                    "etcd {} at {} is older than {OLDEST} and may lose events; it is used all \
                     the same with --allow-old-etcd",
                    report.version, member.endpoint
                )));
            }
            if *cluster.get_or_insert(report.cluster_id) != report.cluster_id {
                return Err(Error::Invalid(format!(
                    "{} belongs to another etcd cluster than the endpoints before it",
                    member.endpoint
                )));
            }
        }
        match (cluster, denied) {
            (Some(cluster), _) => self.check_access().await.map(|()| cluster),
            (None, Some(denied)) => Err(denied),
            (None, None) => Err(error::unavailable(
                format!("no etcd member answers ({})", failures.join("; ")),
                Outcome::NotDone,
            )),
        }
    }

    /// Some versions tell their status to anybody, so what is looked at is whether we may read.
    async fn check_access(&self) -> Result<(), Error> {
        let request = RangeRequest::new(KeyRange::key(self.settings.any_key.clone()))
            // Without a quorum too, which is not waited for here.
            .serializable();
        match kv::range(self, Prefer::Any, request).await {
            Err(error @ Error::Denied(_)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Keeps what is known of the members' health fresh, until told to stop.
    pub(super) fn spawn_probes(self: &Arc<Self>, stop: &CancellationToken) {
        for member in self.members().iter() {
            self.spawn_probe(member, stop);
        }
    }

    fn spawn_probe(self: &Arc<Self>, member: &Arc<Member>, stop: &CancellationToken) {
        let probe = probe(Arc::clone(self), Arc::clone(member));
        let probe = member.left.clone().run_until_cancelled_owned(probe);
        tokio::spawn(stop.clone().run_until_cancelled_owned(probe));
    }

    /// Replaces the list.
    pub(super) fn replace(self: &Arc<Self>, next: Vec<Arc<Member>>, stop: &CancellationToken) {
        let next = Arc::new(next);
        let previous = self.members.swap(Arc::clone(&next));
        for member in next.iter().filter(|member| !is_among(&previous, member)) {
            tracing::info!(
                endpoint = member.endpoint,
                "an etcd member is used from now on"
            );
            self.spawn_probe(member, stop);
        }
        for member in previous.iter().filter(|member| !is_among(&next, member)) {
            tracing::info!(
                endpoint = member.endpoint,
                "an etcd member is not used any more"
            );
            member.left.cancel();
        }
    }

    /// All members, the best for a call first. Broken ones come last: they are used when there is
    /// nobody else.
    pub(super) fn ranked(&self, prefer: &Prefer) -> Vec<Arc<Member>> {
        let mut members = self.members().to_vec();
        if members.len() < 2 {
            return members;
        }
        members.shuffle(&mut rand::rng());
        members.sort_by_cached_key(|member| {
            let (good, leads) = member.standing();
            match prefer {
                Prefer::Any => (!good, false),
                Prefer::Leader => (!good, !leads),
                // A named member is asked whatever its health: the caller knows why.
                Prefer::Member(wanted) => (!Arc::ptr_eq(wanted, member), !good),
            }
        });
        members
    }

    /// The best member for a new stream, other than the one that just failed if there is another.
    pub(super) fn pick(
        &self,
        prefer: &Prefer,
        failed: Option<&Arc<Member>>,
    ) -> Option<Arc<Member>> {
        let mut members = self.ranked(prefer);
        if let Some(failed) = failed {
            members.sort_by_key(|member| Arc::ptr_eq(member, failed) || !member.is_good());
        }
        members.into_iter().next()
    }

    /// Makes a call, and a second attempt, elsewhere if possible, when the first failed and
    /// repeating is safe.
    pub(super) async fn call<T, F, R>(&self, call: Call, request: F) -> Result<T, Error>
    where
        F: Fn(Arc<Member>) -> R,
        R: Future<Output = Result<T, etcd_client::Error>>,
    {
        let members = self.ranked(&call.prefer);
        let attempts = members.iter().chain(&members).take(2);
        let mut failure = error::unavailable("there is no etcd member", Outcome::NotDone);
        let mut unknown = false;
        for member in attempts {
            let error = match self
                .attempt(call.name, member, || request(Arc::clone(member)))
                .await
            {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let repeat = match call.repeat {
                Repeat::Read => error.is_transient() || error == Error::FutureRevision,
                Repeat::Idempotent => error.is_transient(),
                Repeat::NotDone => error.is_transient() && error.outcome() == Outcome::NotDone,
            };
            unknown |= error.outcome() == Outcome::Unknown && call.repeat != Repeat::Read;
            failure = error;
            if !repeat || matches!(failure, Error::Overloaded(_)) {
                break;
            }
        }
        Err(with_outcome(
            failure,
            if unknown {
                Outcome::Unknown
            } else {
                Outcome::NotDone
            },
        ))
    }

    async fn attempt<T, R>(
        &self,
        name: &'static str,
        member: &Arc<Member>,
        request: impl Fn() -> R,
    ) -> Result<T, Error>
    where
        R: Future<Output = Result<T, etcd_client::Error>>,
    {
        let span = tracing::info_span!(
            "etcd",
            otel.name = name,
            otel.kind = "client",
            server.address = %member.endpoint,
            otel.status_code = tracing::field::Empty,
            otel.status_description = tracing::field::Empty,
        );
        let result = member
            .ask(self.settings.kv_timeout, request)
            .instrument(span.clone())
            .await;
        let error = match result {
            Ok(answer) => {
                member.mend();
                return Ok(answer);
            }
            Err(error) => error,
        };
        span.record("otel.status_code", "ERROR");
        span.record("otel.status_description", tracing::field::display(&error));
        blame(member, &error);
        Err(error)
    }
}

// === impl Backoff ===

impl Backoff {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            min: settings.backoff_min,
            max: settings.backoff_max,
            next: settings.backoff_min,
        }
    }

    pub(super) fn reset(&mut self) {
        self.next = self.min;
    }

    /// Waits for between half and the whole of the pause that is due.
    pub(super) async fn pause(&mut self) {
        let pause = self.next.mul_f64(rand::rng().random_range(0.5..=1.0));
        self.next = (self.next * 2).min(self.max);
        sleep(pause).await;
    }
}

/// Says whether a member, reached this very way, is on a list.
pub(super) fn is_among(list: &[Arc<Member>], member: &Arc<Member>) -> bool {
    list.iter().any(|known| Arc::ptr_eq(known, member))
}

/// Notes a failure at the member if it may be its fault; a lost quorum is nobody's.
pub(super) fn blame(member: &Member, error: &Error) {
    if member.left.is_cancelled() {
        return;
    }
    match error {
        Error::Unavailable { .. } | Error::Timeout { .. } | Error::Corrupt(_) => {
            member.suspect(error);
        }
        // Who leads may have changed.
        Error::NoQuorum { .. } => member.suspected.notify_one(),
        Error::Compacted { .. }
        | Error::FutureRevision
        | Error::LeaseNotFound
        | Error::Full { .. }
        | Error::Overloaded(_)
        | Error::Denied(_)
        | Error::Invalid(_) => {}
    }
}

async fn probe(pool: Arc<Pool>, member: Arc<Member>) {
    let settings = &pool.settings;
    let mut backoff = Backoff::new(settings);
    loop {
        if member.is_good() {
            backoff.reset();
            let interval = settings
                .probe_interval
                .mul_f64(rand::rng().random_range(0.9..=1.1));
            tokio::select! {
                () = sleep(interval) => {}
                () = member.suspected.notified() => {}
            }
        } else {
            backoff.pause().await;
        }
        // The member keeps what came of it.
        let _ = member.probe(settings.probe_timeout).await;
        if !member.is_good() {
            pool.trouble.notify_one();
        }
    }
}
