//! What the cluster says of itself.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use super::{
    error::{unavailable, with_outcome},
    member::{Member as EtcdMember, Report},
    members,
    pool::{Pool, Prefer},
    version::Version,
};
use crate::store::{Error, Kind, Member, Outcome, Revision, Status};

/// How often the timeline is looked at, at most, to know it exactly.
const TIMELINE_LOOKS: usize = 8;

/// What is known of the timeline.
#[derive(Debug)]
pub(super) struct Timeline(Mutex<i64>);

/// A span that the timeline was in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    at_least: i64,
    at_most: i64,
}

/// Asks every member, and a quorum for the revision.
pub(super) async fn status(pool: &Pool, timeline: &Timeline) -> Result<Status, Error> {
    let asked = pool.probe_all().await;
    let versions = asked
        .iter()
        .filter_map(|(_, result)| result.as_ref().ok())
        .filter_map(|report| report.version.parse::<Version>().ok());
    let oldest = versions.min();
    let mut warnings = oldest.map_or_else(Vec::new, Version::warnings);
    for report in asked.iter().filter_map(|(_, result)| result.as_ref().ok()) {
        for error in &report.errors {
            // Every member tells the alarms of all.
            if !warnings.contains(error) {
                warnings.push(error.clone());
            }
        }
    }
    let (revision, timeline) = timeline.read(pool).await?;
    // Without the cluster's list, names stay empty and the size is that of ours.
    let listed = members::list(pool).await.unwrap_or_default();
    let names = listed.into_iter().map(|member| (member.id, member.name));
    let names: HashMap<_, _> = names.collect();
    let members: Vec<_> = asked
        .iter()
        .map(|(member, result)| describe(member, result, &names))
        .collect();
    let version = oldest.map_or_else(String::new, |version| version.to_string());
    let size = match names.len() {
        0 => members.len(),
        known => known,
    };
    let plural = if size == 1 { "" } else { "s" };
    Ok(Status {
        kind: Kind::Etcd,
        promise: format!("etcd {version}, {size} member{plural}"),
        version,
        members,
        revision,
        timeline: timeline.at_least,
        timeline_at_most: timeline.at_most,
        warnings,
    })
}

// === impl Timeline ===

impl Timeline {
    pub(super) fn new() -> Self {
        Self(Mutex::new(i64::MIN))
    }

    /// The revision and the timeline of a member that is up to date, the leader if it is known.
    async fn read(&self, pool: &Pool) -> Result<(Revision, Span), Error> {
        let before = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut failure = unavailable("there is no etcd member", Outcome::NotDone);
        for member in pool.ranked(&Prefer::Leader) {
            match look(pool, &member).await {
                Ok((revision, span)) => return Ok((revision, self.note(before, span))),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Takes a new span. The lower end never falls, unless the upper one proves that it did since
    /// `before`, the lower end when the looks began.
    fn note(&self, before: i64, span: Span) -> Span {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *known = if span.at_most < before {
            span.at_least
        } else {
            span.at_least.max(*known)
        };
        Span {
            at_least: *known,
            at_most: span.at_most,
        }
    }
}

// === impl Span ===

impl Span {
    /// What three consecutive looks at one member prove. A look shows the applied index and, a
    /// moment earlier or later (versions differ), the revision. The index of the middle look
    /// belongs to a state between the revisions of the outer two, where an entry may show in the
    /// revision just before it does in the index.
    fn between(looks: [&Report; 3]) -> Self {
        let [before, now, after] = looks;
        Self {
            at_least: now.applied.saturating_sub(after.revision),
            at_most: now.applied.saturating_sub(before.revision) + 1,
        }
    }
}

/// Looks at a member until its timeline is known exactly, or as well as the load allows.
async fn look(pool: &Pool, member: &EtcdMember) -> Result<(Revision, Span), Error> {
    let settings = &pool.settings;
    // Linearizable, so that the member has applied what any other had told before.
    let read = || {
        let mut kv = member.kv.clone();
        async move { kv.get(settings.any_key.as_str(), None).await }
    };
    let read = member.ask(settings.kv_timeout, read).await;
    read.map_err(|error| with_outcome(error, Outcome::NotDone))?;
    let mut before = member.probe(settings.probe_timeout).await?;
    let mut now = member.probe(settings.probe_timeout).await?;
    let mut best: Option<Span> = None;
    for _ in 0..TIMELINE_LOOKS {
        let after = member.probe(settings.probe_timeout).await?;
        let span = Span::between([&before, &now, &after]);
        let best = best.get_or_insert(span);
        best.at_least = best.at_least.max(span.at_least);
        // Later looks may see a higher timeline: the last upper end is the one that counts.
        best.at_most = span.at_most;
        let quiet = before.revision == after.revision;
        before = std::mem::replace(&mut now, after);
        if quiet {
            break;
        }
    }
    let span = best.ok_or_else(|| unavailable("etcd was not asked", Outcome::NotDone))?;
    Ok((now.revision, span))
}

fn describe(
    member: &EtcdMember,
    result: &Result<Report, Error>,
    names: &HashMap<u64, String>,
) -> Member {
    let endpoint = member.endpoint.clone();
    match result {
        Ok(report) => Member {
            name: names.get(&report.member_id).cloned().unwrap_or_default(),
            endpoint,
            version: report.version.clone(),
            leader: report.leads,
            error: (!report.errors.is_empty()).then(|| report.errors.join("; ")),
        },
        Err(error) => Member {
            endpoint,
            error: Some(error.to_string()),
            ..Member::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(applied: i64, revision: Revision) -> Report {
        Report {
            applied,
            revision,
            ..Report::default()
        }
    }

    #[test]
    fn the_timeline_is_exact_but_for_one_when_nobody_writes() {
        let quiet = report(120, 100);
        let span = Span::between([&quiet, &quiet, &quiet]);
        assert_eq!((span.at_least, span.at_most), (20, 21));
    }

    #[test]
    fn a_fall_is_believed_only_when_it_is_proven() {
        let span = |at_least, at_most| Span { at_least, at_most };
        let timeline = Timeline::new();
        assert_eq!(timeline.note(i64::MIN, span(20, 21)), span(20, 21));
        // Writes between the looks widen the span downwards.
        assert_eq!(timeline.note(20, span(12, 22)), span(20, 22));
        assert_eq!(timeline.note(20, span(23, 24)), span(23, 24));
        // Looked before that was known.
        assert_eq!(timeline.note(20, span(20, 21)), span(23, 21));
        assert_eq!(timeline.note(23, span(3, 4)), span(3, 4));
    }
}
