//! What the cluster says of itself.

use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;

use super::{
    kv,
    member::{Member as EtcdMember, Report},
    pool::{Call, Pool, Prefer, Repeat},
    version::Version,
};
use crate::store::{Error, Member, Status};

/// How often the timeline is looked at before a fall is believed.
const TIMELINE_SAMPLES: usize = 5;

/// The timeline as last believed.
#[derive(Debug)]
pub(super) struct Timeline(AtomicI64);

/// Asks every member, and a quorum for the revision.
pub(super) async fn status(pool: &Pool, timeline: &Timeline) -> Result<Status, Error> {
    let asked = pool.probe_all().await;
    let versions = asked
        .iter()
        .filter_map(|(_, result)| result.as_ref().ok())
        .filter_map(|report| report.version.parse::<Version>().ok());
    let oldest = versions.min();
    let mut warnings = oldest.map_or_else(Vec::new, Version::warnings);
    for (_, result) in &asked {
        if let Ok(report) = result {
            warnings.extend(report.errors.iter().cloned());
        }
    }
    warnings.dedup();
    let members = asked
        .iter()
        .map(|(member, result)| describe(member, result));
    let members: Vec<_> = members.collect();
    let (revision, timeline) = timeline.read(pool).await?;
    let version = oldest.map_or_else(String::new, |version| version.to_string());
    let size = cluster_size(pool).await.unwrap_or(members.len());
    let plural = if size == 1 { "" } else { "s" };
    Ok(Status {
        kind: "etcd",
        promise: format!("etcd {version}, {size} member{plural}"),
        version,
        members,
        revision,
        timeline,
        warnings,
    })
}

// === impl Timeline ===

impl Timeline {
    pub(super) fn new() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }

    /// The revision and the timeline of a member that is up to date.
    ///
    /// A member reads its applied index a moment before its revision, so that under load one look
    /// may find too little, never too much; and one that lags finds what was. Therefore a quorum
    /// read comes first, several looks are taken, and a fall counts only if all of them see it.
    async fn read(&self, pool: &Pool) -> Result<(i64, i64), Error> {
        let known = self.0.load(Ordering::Relaxed);
        let mut best: Option<(i64, i64)> = None;
        for sample in 1..=TIMELINE_SAMPLES {
            let member = pool.ranked(&Prefer::Leader).into_iter().next();
            let prefer = member.clone().map_or(Prefer::Leader, Prefer::Member);
            let revision = kv::current_revision(pool, prefer, &Bytes::from_static(b"-")).await?;
            let Some(member) = member else { break };
            let report = member.probe(pool.settings.probe_timeout).await?;
            // Read elsewhere, perhaps: this member may not be that far.
            if report.revision < revision {
                continue;
            }
            let (_, highest) = best.unwrap_or((0, i64::MIN));
            best = Some((report.revision, highest.max(report.offset)));
            let enough = if known == i64::MIN { 3 } else { 1 };
            if sample >= enough && best.is_some_and(|(_, offset)| offset >= known) {
                break;
            }
        }
        let (revision, offset) = best.ok_or_else(|| {
            super::error::unavailable("no member is up to date", crate::store::Outcome::NotDone)
        })?;
        self.0.store(offset, Ordering::Relaxed);
        Ok((revision, offset))
    }
}

fn describe(member: &EtcdMember, result: &Result<Report, Error>) -> Member {
    match result {
        Ok(report) => Member {
            endpoint: member.endpoint.clone(),
            version: report.version.clone(),
            leader: report.leads,
            error: (!report.errors.is_empty()).then(|| report.errors.join("; ")),
        },
        Err(error) => Member {
            endpoint: member.endpoint.clone(),
            version: String::new(),
            leader: false,
            error: Some(error.to_string()),
        },
    }
}

/// How many members the cluster has, which may be more than we were told of.
async fn cluster_size(pool: &Pool) -> Result<usize, Error> {
    let call = Call {
        name: "etcd.members",
        prefer: Prefer::Any,
        repeat: Repeat::Read,
    };
    let list = pool
        .call(call, |member| {
            let mut cluster = member.cluster.clone();
            async move { cluster.member_list().await }
        })
        .await?;
    Ok(list.members().len())
}
