//! The one transaction behind every change.
//!
//! It compares that each item is as it was seen, with one condition each, because a transaction may
//! have few: of an item that is there, its head, with which every version is written; of one that
//! is not, that no version of it is kept, without which there is no head. Only where versions have
//! outlived their head are both compared. Then head, version and audit entry are
//! written, of all items or none.

use std::time::SystemTime;

use bytes::Bytes;

use crate::{
    domain::{
        Core, Error,
        audit::{AuditEntry, AuditOperation},
        guard,
        keyspace::Keyspace,
        records,
        watch::WireForm,
    },
    store::{
        Compare, KeyRange, KeyValue, MAX_TXN_OPERATIONS, Operation as Step, RangeRequest, Txn,
    },
};

use super::{
    super::{
        ConfigHead, ConfigVersion, Operation, Release, RequestRecord,
        blob::Apart,
        change::{Entry, Order},
    },
    plan::Planned,
    seen::Seen,
};

/// How many requests a head remembers.
const REQUESTS: usize = 16;
/// Up to how many items are read whole where a transaction fails. Of more only the revisions are:
/// all contents together might be more than a message holds.
const READ_WHOLE: usize = 8;
/// How many steps are put beside each other. That leaves room for a guard around and for
/// transactions inside.
const WIDTH: usize = MAX_TXN_OPERATIONS - guard::COMPARES - 8;

/// A transaction, and by what it recognises its own work.
pub(super) struct Attempt {
    pub(super) txn: Txn,
    /// A record that it writes, of a key that nobody else writes twice; `None`: it writes nothing.
    pub(super) own: Option<(Bytes, Bytes)>,
    /// The release that it publishes.
    pub(super) release: Option<Release>,
    /// Whether the heads are read with their contents where it fails.
    pub(super) reads_whole: bool,
}

// === impl Attempt ===

impl Attempt {
    /// The transaction that writes what is planned if all is as it was seen. Its other branch reads
    /// the head of each item, then the first version.
    pub(super) fn new(
        core: &Core,
        order: &Order,
        seen: &[Seen],
        planned: &Planned,
        apart: Option<&Apart>,
        now: SystemTime,
    ) -> Result<Self, Error> {
        let keys = &core.keys;
        let entries = || order.entries.iter().zip(seen);
        let reads_whole = order.entries.len() <= READ_WHOLE;
        let mut attempt = Self {
            txn: Txn::new(),
            own: None,
            release: order.published(seen, &planned.versions, now),
            reads_whole,
        };
        for (entry, seen) in entries() {
            let read = RangeRequest::new(KeyRange::key(keys.config(&entry.path)));
            let read = if reads_whole { read } else { read.keys_only() };
            attempt.txn.compares.extend(as_seen(keys, entry, seen));
            attempt.txn.failure.push(Step::Range(read));
        }
        attempt.txn.compares.extend(planned.approval.clone());
        let mut writes = Vec::new();
        if let Some(apart) = apart {
            attempt.txn.compares.extend(apart.condition(core));
            writes.push(Vec::from_iter(apart.mark(
                core,
                &order.entries,
                &planned.versions,
            )));
        }
        if let Some(release) = &attempt.release {
            let key = keys.release(&release.path);
            let record = records::encode_release(release);
            attempt.txn.compares.push(Compare::absent(key.clone()));
            let record_of = Step::put(key.clone(), record.clone());
            writes.push(vec![listing(keys, release), record_of]);
            attempt.own = Some((key, record));
        }
        for (at, ((entry, seen), version)) in entries().zip(&planned.versions).enumerate() {
            let mut steps = Vec::new();
            if let Some(version) = version {
                let key = keys.config_version(&entry.path, version.version);
                let part = apart.and_then(|apart| apart.part(at));
                let record = records::encode_config_version(version, part);
                let head = head(entry, seen, version, order.remembered(entry));
                let head = records::encode_config_head(&head);
                let audit = remembered(core, order, entry, seen, version);
                steps.push(Step::put(keys.config(&entry.path), head));
                steps.push(Step::put(key.clone(), record.clone()));
                steps.push(core.audit(&entry.path.namespace, &audit));
                attempt.own.get_or_insert((key, record));
            }
            steps.extend(published_draft(keys, entry));
            writes.push(steps);
        }
        writes.retain(|steps| !steps.is_empty());
        if let Some((key, _)) = &attempt.own {
            attempt.txn.failure.push(Step::get(key.clone()));
        }
        attempt.txn.success = beside_each_other(writes);
        attempt.check_size(order)?;
        if order.terms.validate_only {
            attempt.txn.success.clear();
        }
        Ok(attempt)
    }

    /// Whether what was found is what it wrote.
    ///
    /// An answer can get lost and the transaction be sent again, to find its own work. No other
    /// version has the same bytes.
    pub(super) fn is_own(&self, found: &KeyValue) -> bool {
        let own = self.own.as_ref();
        own.is_some_and(|(_, record)| found.value == *record)
    }

    /// What it writes is bounded, but for names and notes.
    fn check_size(&self, order: &Order) -> Result<(), Error> {
        let field = match order.listed {
            true => "changes",
            false => "content",
        };
        self.txn.check_size().map_err(|error| {
            let description = format!("with all that goes with it is too much at once: {error}");
            Error::invalid(field, description)
        })
    }
}

// === impl Order ===

impl Order {
    fn remembered(&self, entry: &Entry) -> Option<RequestRecord> {
        let change = entry.change.as_ref()?;
        (!self.terms.request_id.is_empty()).then(|| RequestRecord {
            request_id: self.terms.request_id.clone(),
            version: 0,
            operation: change.operation(),
            digest: self.digest,
        })
    }
}

/// The conditions that an item is as it was seen.
fn as_seen(keys: &Keyspace, entry: &Entry, seen: &Seen) -> impl Iterator<Item = Compare> {
    let later = || keys.config_versions(&entry.path, seen.newest + 1, i64::MAX);
    let of_head = || Compare::mod_revision(keys.config(&entry.path), seen.mod_revision());
    let kept_alone = seen.head.is_none() && seen.newest > 0;
    let head = (seen.head.is_some() || kept_alone).then(of_head);
    let versions = seen.head.is_none().then(|| Compare::empty(later()));
    head.into_iter().chain(versions)
}

/// What is remembered of the making of a version.
fn remembered(
    core: &Core,
    order: &Order,
    entry: &Entry,
    seen: &Seen,
    version: &ConfigVersion,
) -> AuditEntry {
    let before = seen.head.as_ref().map(|head| &head.current);
    let terms = &order.terms;
    AuditEntry {
        operation: match version.operation {
            Operation::Put => AuditOperation::PutConfig,
            Operation::Delete => AuditOperation::DeleteConfig,
            Operation::Rollback => AuditOperation::RollbackConfig,
            // The version names its release.
            Operation::Release if version.deleted => AuditOperation::DeleteConfig,
            Operation::Release if version.rollback_of > 0 => AuditOperation::RollbackConfig,
            Operation::Release => AuditOperation::PutConfig,
        },
        subject: entry.path.key.to_string(),
        version: version.version,
        old_checksum: before.and_then(ConfigVersion::content_checksum),
        new_checksum: version.content_checksum(),
        actor: terms.actor.clone(),
        caller: terms.caller.clone(),
        create_time: version.create_time,
        comment: terms.comment.clone(),
        detail: String::new(),
        request_id: terms.request_id.clone(),
        replica: core.replica.clone(),
    }
}

fn head(
    entry: &Entry,
    seen: &Seen,
    version: &ConfigVersion,
    request: Option<RequestRecord>,
) -> ConfigHead {
    let before = seen.head.as_deref();
    let mut requests = before.map_or(Vec::new(), |head| head.requests.clone());
    requests.extend(request.map(|request| RequestRecord {
        version: version.version,
        ..request
    }));
    requests.drain(..requests.len().saturating_sub(REQUESTS));
    let present = before.filter(|head| !head.current.deleted);
    ConfigHead {
        path: entry.path.clone(),
        current: version.clone(),
        requests,
        format: records::FORMAT,
        create_revision: present.map_or(0, |head| head.create_revision),
        mod_revision: 0,
        wire: WireForm::default(),
    }
}

/// Where a release is listed: without what it did.
fn listing(keys: &Keyspace, release: &Release) -> Step {
    let namespace = &release.path.namespace;
    let key = keys.released(namespace, release.create_time, rand::random());
    let listed = Release {
        items: Vec::new(),
        ..release.clone()
    };
    Step::put(key, records::encode_release(&listed))
}

/// A draft goes when it is published, unless it is another one by now.
fn published_draft(keys: &Keyspace, entry: &Entry) -> Option<Step> {
    let draft = entry.draft?;
    let key = keys.draft(&entry.path);
    let gone = Txn::new()
        .when(Compare::mod_revision(key.clone(), draft.revision))
        .then(Step::delete(key));
    Some(Step::Txn(gone))
}

/// Steps that fit as they are, or those of each item in a transaction inside.
fn beside_each_other(writes: Vec<Vec<Step>>) -> Vec<Step> {
    if writes.iter().map(Vec::len).sum::<usize>() <= WIDTH {
        return writes.into_iter().flatten().collect();
    }
    let inside = |steps| Step::Txn(Txn::new().then_all(steps));
    writes.into_iter().map(inside).collect()
}
