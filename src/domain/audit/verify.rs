//! Verifying: whether the audit of a namespace is what was written.
//!
//! The chain is computed anew from its oldest entry that is kept, then what is not sealed is looked
//! at. Hashes show what was done to the chain. What was done before it was sealed shows in the
//! versions of configs that the entries tell of: those of each config follow one another, and the
//! last one is what the config has. All of it is read as of one revision.

use std::collections::HashMap;

use bytes::Bytes;

use crate::{
    cache::Freshness,
    domain::{
        Core, Error,
        keyspace::ConfigPath,
        names::{ConfigKey, Namespace},
        records,
        state::{State, View},
    },
    store::{KeyRange, RangeRequest, Revision},
};

use super::{Audit, Fault, FaultKind, Link, Seal, entry::Presence};

/// How many stretches are read at a time: at most some 2 MiB.
const SPAN: i64 = 8;

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The number of the oldest entry that is kept; `0`: none is.
    pub first: i64,
    /// Where the chain ends, as far as it was found good.
    pub tip: Link,
    /// How many entries were found good that are not sealed yet.
    pub unsealed: usize,
    /// The revision at which it was looked.
    pub revision: Revision,
    /// The first thing that is wrong.
    pub fault: Option<Fault>,
}

/// A verification under way.
struct Walk<'a> {
    core: &'a Core,
    namespace: &'a Namespace,
    verdict: Verdict,
    /// The last version of each config that an entry told of.
    told: HashMap<String, Told>,
    /// The revision of the oldest entry.
    begin: Option<Revision>,
}

struct Told {
    version: i64,
    presence: Presence,
}

/// Why a verification goes no further.
enum Stop {
    Fault(Fault),
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

// === impl Audit ===

impl Audit {
    /// Verifies the audit of a namespace, and that the chain leads through `noted`, a place that an
    /// earlier verification ended at: whoever rewrites a whole chain, or cuts its end off, does not
    /// know what others have noted.
    ///
    /// Errors: [`Error::AuditPruned`] if what follows `noted` is not kept any more.
    pub async fn verify(
        &self,
        namespace: &Namespace,
        noted: Option<Link>,
    ) -> Result<Verdict, Error> {
        let turn = self.verifications.acquire().await;
        let _turn = turn.map_err(|error| Error::Internal(error.to_string()))?;
        let view = self.core.cache.read(Freshness::Linearizable).await?;
        let mut walk = Walk {
            core: &self.core,
            namespace,
            verdict: Verdict {
                first: 0,
                tip: Link::start(namespace),
                unsealed: 0,
                revision: view.revision,
                fault: None,
            },
            told: HashMap::new(),
            begin: None,
        };
        match walk.all(&view, noted).await {
            Ok(()) => {}
            Err(Stop::Fault(fault)) => walk.verdict.fault = Some(fault),
            Err(Stop::Failed(error)) => return Err(error),
        }
        Ok(walk.verdict)
    }
}

// === impl Walk ===

impl Walk<'_> {
    async fn all(&mut self, view: &View, noted: Option<Link>) -> Result<(), Stop> {
        self.sealed(noted).await?;
        self.unsealed().await?;
        self.heads(view).await
    }

    async fn sealed(&mut self, noted: Option<Link>) -> Result<(), Stop> {
        let (core, namespace, revision) = (self.core, self.namespace, self.verdict.revision);
        let newest = core.seals(namespace, i64::MAX - 1, 1, revision).await?;
        let newest = newest.first().map_or(0, |newest| newest.number);
        let oldest = core.oldest_seal(namespace, newest, revision).await?;
        let mut pruned = oldest > 1;
        let mut first = oldest.max(1);
        while first <= newest {
            let last = newest.min(first + SPAN - 1);
            let limit = usize::try_from(last - first + 1).unwrap_or_default();
            let found = core.seals(namespace, last, limit, revision).await?;
            for found in found.iter().rev().filter(|found| found.number >= first) {
                let Ok(seal) = &found.seal else {
                    let number = self.verdict.tip.number + 1;
                    let description = format!("seal {} cannot be read", found.number);
                    return Err(Fault::new(FaultKind::Altered, number, description).into());
                };
                if std::mem::take(&mut pruned) {
                    // What it follows is gone: its word is all there is.
                    self.verdict.tip = seal.before;
                    if noted.is_some_and(|noted| noted.number < seal.before.number) {
                        let first = seal.before.number + 1;
                        return Err(Error::AuditPruned { first }.into());
                    }
                }
                self.seal(seal, noted).await?;
            }
            first = last + 1;
        }
        match noted {
            Some(noted) if noted.number > self.verdict.tip.number => {
                let number = self.verdict.tip.number + 1;
                let description = "the chain was longer when it was noted";
                Err(Fault::new(FaultKind::Missing, number, description).into())
            }
            _ => Ok(()),
        }
    }

    async fn seal(&mut self, seal: &Seal, noted: Option<Link>) -> Result<(), Stop> {
        let checked = seal.check(&self.verdict.tip);
        if let Some(noted) = noted {
            let links = seal.entries.iter().map(super::SealedEntry::link);
            let mut links = std::iter::once(seal.before).chain(links);
            let there = links.find(|link| link.number == noted.number);
            if checked.is_ok() && there.is_some_and(|there| there.hash != noted.hash) {
                let description = "the chain up to here is not what it was when it was noted";
                return Err(Fault::new(FaultKind::Altered, noted.number, description).into());
            }
        }
        for entry in &seal.entries {
            if let Err(fault) = &checked
                && entry.number >= fault.number
            {
                break;
            }
            self.entry(entry.number, entry.revision, &entry.record)
                .await?;
            if self.verdict.first == 0 {
                self.verdict.first = entry.number;
            }
            self.verdict.tip = entry.link();
        }
        self.verdict.tip = checked.map_err(|fault| match seal.find(fault.number) {
            Some(entry) => fault.about(&entry.record),
            None => fault,
        })?;
        Ok(())
    }

    async fn unsealed(&mut self) -> Result<(), Stop> {
        let mut found = Vec::new();
        let keys = self.core.keys.unsealed_in(self.namespace);
        let revision = self.verdict.revision;
        let each = |kv: crate::store::KeyValue| {
            found.push((kv.create_revision, kv.key, kv.mod_revision, kv.value));
        };
        self.core.unsealed(keys, false, revision, each).await?;
        found.sort_unstable();
        for (revision, _, mod_revision, record) in found {
            if mod_revision != revision {
                let fault = Fault::new(FaultKind::Altered, 0, "it was overwritten");
                let fault = Fault { revision, ..fault };
                return Err(fault.about(&record).into());
            }
            self.entry(0, revision, &record).await?;
            self.verdict.unsealed += 1;
        }
        Ok(())
    }

    /// Whether an entry follows from the one before it that tells of the same config.
    async fn entry(&mut self, number: i64, revision: Revision, record: &Bytes) -> Result<(), Stop> {
        let begin = *self.begin.get_or_insert(revision);
        let fault = |kind, description: String| Fault {
            revision,
            ..Fault::new(kind, number, description)
        };
        let entry = match records::audit_entry(record) {
            Ok(entry) => entry,
            // What it tells of cannot be said: what follows is judged as if the audit began here.
            Err(_) if records::is_newer_audit(record) => {
                self.told.clear();
                self.begin = Some(revision);
                return Ok(());
            }
            Err(error) => {
                let description = format!("it is no entry: {error}");
                return Err(fault(FaultKind::Inserted, description).into());
            }
        };
        // Of other deeds nothing is kept to compare them with.
        let Some(presence) = entry.operation.of_config() else {
            return Ok(());
        };
        let missing = |version: i64| {
            let description = format!("version {version} has no entry");
            fault(FaultKind::Missing, description).about(record)
        };
        let version = entry.version;
        match self.told.get(&entry.subject) {
            Some(told) if version > told.version + 1 => return Err(missing(version - 1).into()),
            // Once no history is kept any more versions begin anew.
            Some(told) if version == 1 && told.presence == Presence::Gone => {}
            Some(told) if version <= told.version => {
                let description = format!("version {version} has an entry already");
                return Err(fault(FaultKind::Inserted, description).about(record).into());
            }
            Some(_) => {}
            None if version > 1 => {
                // Older than the audit, or than what is kept of it, or left out.
                let before = self.written(&entry.subject, version - 1).await?;
                if before.is_some_and(|before| before > begin) {
                    return Err(missing(version - 1).into());
                }
            }
            None => {}
        }
        self.told.insert(entry.subject, Told { version, presence });
        Ok(())
    }

    /// Whether the entries end where the configs are.
    async fn heads(&mut self, view: &View) -> Result<(), Stop> {
        let Some(begin) = self.begin else {
            return Ok(());
        };
        let prefix = format!("{}/", self.namespace);
        for (_, head) in State::under(&view.state.configs, prefix.as_bytes(), None) {
            let subject = head.path.key.to_string();
            let current = &head.current;
            let told = self.told.remove(&subject);
            let (kind, description) = match told.map(|told| told.version.cmp(&current.version)) {
                Some(std::cmp::Ordering::Equal) => continue,
                None if head.mod_revision <= begin => continue,
                Some(std::cmp::Ordering::Greater) => (
                    FaultKind::Inserted,
                    "it tells of a version that is not there",
                ),
                None | Some(std::cmp::Ordering::Less) => {
                    (FaultKind::Missing, "the current version has no entry")
                }
            };
            return Err(Stop::Fault(Fault {
                revision: head.mod_revision,
                subject,
                ..Fault::new(kind, 0, description)
            }));
        }
        // Heads go with the last of their history, which is a deletion.
        for (subject, told) in &self.told {
            if told.presence == Presence::There && !self.has_head(subject).await? {
                let description = "it tells of a config that is not there";
                return Err(Stop::Fault(Fault {
                    subject: subject.clone(),
                    ..Fault::new(FaultKind::Inserted, 0, description)
                }));
            }
        }
        Ok(())
    }

    /// When a version was written, if it is kept.
    async fn written(&self, subject: &str, version: i64) -> Result<Option<Revision>, Error> {
        let Some(path) = self.path(subject) else {
            return Ok(None);
        };
        self.created(self.core.keys.config_version(&path, version))
            .await
    }

    /// A head that cannot be read is none for everybody else.
    async fn has_head(&self, subject: &str) -> Result<bool, Error> {
        match self.path(subject) {
            Some(path) => Ok(self.created(self.core.keys.config(&path)).await?.is_some()),
            None => Ok(false),
        }
    }

    async fn created(&self, key: Bytes) -> Result<Option<Revision>, Error> {
        let request = RangeRequest::new(KeyRange::key(key)).keys_only();
        let found = self.core.store.range(request.at(self.verdict.revision));
        let found = found.await.map_err(Error::Store)?;
        Ok(found.kvs.first().map(|kv| kv.create_revision))
    }

    fn path(&self, subject: &str) -> Option<ConfigPath> {
        Some(ConfigPath {
            namespace: self.namespace.clone(),
            key: ConfigKey::parse(subject).ok()?,
        })
    }
}

// === impl Fault ===

impl Fault {
    /// Names what the record speaks of, if it can be read.
    fn about(self, record: &Bytes) -> Self {
        match records::audit_entry(record) {
            Ok(entry) => Self {
                subject: entry.subject,
                ..self
            },
            Err(_) => self,
        }
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

// === impl Seal ===

impl Seal {
    fn find(&self, number: i64) -> Option<&super::SealedEntry> {
        self.entries.iter().find(|entry| entry.number == number)
    }
}
