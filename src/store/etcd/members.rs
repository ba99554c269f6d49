//! Which members there are: asked of the cluster now and then, so that members come and go without
//! a restart.
//!
//! A member is known by its id. The way to it that works is kept; else an endpoint of the settings
//! that leads to it comes before what it advertises, which may be meant for others. A member that
//! nothing leads to stays in the list, so that it is shown and tried. The list is left as it is when
//! nobody on the new one could be reached.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures_util::future::join_all;
use rand::Rng as _;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{
    error::unavailable,
    member::{Member, Report},
    pool::{Backoff, Pool, Prefer, is_among},
    version::{OLDEST, Version},
};
use crate::store::{Error, Outcome};

/// The part of the interval after which the list is asked for again while a member does not answer:
/// it may have gone for good, or moved.
const SOONER: u32 = 6;

/// A voting member that has started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) id: u64,
    pub(super) name: String,
    /// Where it says that clients reach it.
    urls: Vec<String>,
}

/// An endpoint, and what it answered just now.
struct Way {
    member: Arc<Member>,
    answer: Result<Report, Error>,
}

/// Keeps the pool's list up to date.
pub(super) async fn keep(pool: Arc<Pool>, stop: CancellationToken) {
    let Some(interval) = pool.settings.sync_interval else {
        return;
    };
    let mut backoff = Backoff::new(&pool.settings);
    loop {
        if let Err(error) = sync(&pool, &stop).await {
            tracing::debug!(%error, "the etcd members could not be listed");
        }
        tokio::select! {
            () = sleep(jittered(interval)) => {}
            () = pool.trouble.notified() => {
                let lost = pool.members().iter().all(|member| !member.is_good());
                if lost {
                    backoff.pause().await;
                } else {
                    backoff.reset();
                    sleep(jittered(interval / SOONER)).await;
                }
            }
        }
    }
}

/// The voting members of the cluster, as a quorum knows them.
pub(super) async fn list(pool: &Pool) -> Result<Vec<Listed>, Error> {
    let mut failure = unavailable("there is no etcd member", Outcome::NotDone);
    for member in pool.ranked(&Prefer::Any) {
        match list_of(pool, &member).await {
            Ok(listed) => return Ok(listed),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

async fn list_of(pool: &Pool, member: &Member) -> Result<Vec<Listed>, Error> {
    let asking = || {
        let (mut kv, mut cluster) = (member.kv.clone(), member.cluster.clone());
        async move {
            // Linearizable, so that a member that was cut off does not tell how it once was.
            kv.get(pool.settings.any_key.as_str(), None).await?;
            cluster.member_list().await
        }
    };
    let answer = member.ask(pool.settings.kv_timeout, asking).await?;
    let cluster = answer.header().map_or(0, |header| header.cluster_id());
    if cluster != pool.cluster {
        tracing::warn!(
            endpoint = member.endpoint,
            "an etcd endpoint leads to another cluster than it did at start"
        );
        return Err(Error::Invalid("the etcd cluster is another one".to_owned()));
    }
    let members = answer.members().iter();
    Ok(members
        .filter(|member| !member.is_learner() && !member.name().is_empty())
        .filter(|member| !member.client_urls().is_empty())
        .map(|member| Listed {
            id: member.id(),
            name: member.name().to_owned(),
            urls: member.client_urls().to_vec(),
        })
        .collect())
}

/// Asks who is there and takes the answer as the pool's list.
async fn sync(pool: &Arc<Pool>, stop: &CancellationToken) -> Result<(), Error> {
    let present = pool.members();
    let seeds = &pool.settings.endpoints;
    let mut ways = Vec::new();
    ask(pool, present.to_vec(), &mut ways).await;
    let listed = match list(pool).await {
        Ok(listed) => listed,
        // Everyone on the list may be gone: the endpoints of the settings may lead back.
        Err(error) => {
            let seeds = new_ways(pool, &ways, seeds).await;
            ask(pool, seeds, &mut ways).await;
            let mut seeds = ways.iter().skip(present.len());
            match seeds.find(|way| may_be_used(pool, way)) {
                Some(seed) => list_of(pool, &seed.member).await?,
                None => return Err(error),
            }
        }
    };
    // Nobody is asked who need not be.
    if !unreached(&listed, &ways).is_empty() {
        let seeds = new_ways(pool, &ways, seeds).await;
        ask(pool, seeds, &mut ways).await;
    }
    let unreached = unreached(&listed, &ways).into_iter();
    let advertised: Vec<_> = unreached.flat_map(|member| member.urls.clone()).collect();
    let advertised = new_ways(pool, &ways, &advertised).await;
    ask(pool, advertised, &mut ways).await;

    let mut members: Vec<Arc<Member>> = Vec::new();
    let mut reached = false;
    for member in &listed {
        let Some(way) = choose(pool, &present, &ways, member) else {
            continue;
        };
        if is_among(&members, &way.member) {
            continue;
        }
        reached |= way.answer.is_ok();
        if !is_among(&present, &way.member) {
            way.member.note(&way.answer);
        }
        members.push(Arc::clone(&way.member));
    }
    if reached {
        pool.replace(members, stop);
    } else {
        tracing::warn!("nobody on the etcd cluster's list can be reached, it is not used");
    }
    Ok(())
}

/// Members for those endpoints that are not known yet.
async fn new_ways(pool: &Pool, known: &[Way], endpoints: &[String]) -> Vec<Arc<Member>> {
    let known = known.iter().map(|way| address(&way.member.endpoint));
    let mut seen: HashSet<&str> = known.collect();
    let mut new = Vec::new();
    for endpoint in endpoints {
        if !seen.insert(address(endpoint)) {
            continue;
        }
        match Member::new(endpoint, &pool.settings).await {
            Ok(member) => new.push(Arc::new(member)),
            // A socket of its machine, perhaps, or TLS that we were not told how to speak.
            Err(error) => tracing::debug!(endpoint, %error, "an endpoint cannot be used"),
        }
    }
    new
}

/// Those to whom no way leads.
fn unreached<'a>(listed: &'a [Listed], ways: &[Way]) -> Vec<&'a Listed> {
    let is_reached = |member: &Listed| ways.iter().any(|way| way.leads_to(member.id));
    listed.iter().filter(|member| !is_reached(member)).collect()
}

/// Asks all of them at once for their status.
async fn ask(pool: &Pool, members: Vec<Arc<Member>>, ways: &mut Vec<Way>) {
    let within = pool.settings.probe_timeout;
    let asked = members.into_iter().map(|member| async move {
        let answer = member.report(within).await;
        Way { member, answer }
    });
    ways.extend(join_all(asked).await);
}

/// The way to a member: what leads there, the one in use first; else whatever may lead there again.
fn choose<'a>(
    pool: &Pool,
    present: &[Arc<Member>],
    ways: &'a [Way],
    listed: &Listed,
) -> Option<&'a Way> {
    let leads = ways
        .iter()
        .find(|way| way.leads_to(listed.id) && may_be_used(pool, way));
    let led = || {
        ways.iter()
            .take(present.len())
            .find(|way| way.answer.is_err() && way.member.id() == Some(listed.id))
    };
    let may_lead = || {
        let urls: HashSet<&str> = listed.urls.iter().map(|url| address(url)).collect();
        ways.iter()
            .find(|way| way.answer.is_err() && urls.contains(address(&way.member.endpoint)))
    };
    leads.or_else(led).or_else(may_lead)
}

/// Says whether a way leads to a member that may be used.
fn may_be_used(pool: &Pool, way: &Way) -> bool {
    let Ok(report) = &way.answer else {
        return false;
    };
    let is_old = report
        .version
        .parse::<Version>()
        .is_ok_and(|version| version < OLDEST);
    if is_old && !pool.settings.allow_old {
        tracing::warn!(
            endpoint = way.member.endpoint,
            version = report.version,
            "an etcd member is older than {OLDEST} and is not used without --allow-old-etcd"
        );
        return false;
    }
    report.cluster_id == pool.cluster
}

// === impl Way ===

impl Way {
    fn leads_to(&self, id: u64) -> bool {
        let report = self.answer.as_ref();
        report.is_ok_and(|report| report.member_id == id)
    }
}

/// What all ways of writing an endpoint have in common.
fn address(endpoint: &str) -> &str {
    let address = endpoint
        .split_once("://")
        .map_or(endpoint, |(_, rest)| rest);
    address.strip_suffix('/').unwrap_or(address)
}

fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(rand::rng().random_range(0.9..=1.1))
}
