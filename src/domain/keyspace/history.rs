//! The keys that nobody watches: versions, drafts, releases, the audit.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::{
    domain::names::{ConfigKey, Namespace},
    store::KeyRange,
};

use super::{ConfigPath, Keyspace, ReleasePath};

// === impl Keyspace ===

impl Keyspace {
    /// A version of a config item.
    pub fn config_version(&self, path: &ConfigPath, version: i64) -> Bytes {
        self.at("history/cfg/", &format!("{}//{version:016x}", path.path()))
    }

    /// The versions from `first` up to and with `last`.
    pub fn config_versions(&self, path: &ConfigPath, first: i64, last: i64) -> KeyRange {
        KeyRange::span(
            self.config_version(path, first),
            self.config_version(path, last.saturating_add(1)),
        )
    }

    /// The version number at the end of the key of a version, or of the mark that it is pinned.
    pub fn parse_config_version(&self, key: &[u8]) -> Option<i64> {
        let text = std::str::from_utf8(key).ok()?;
        i64::from_str_radix(text.rsplit_once("//")?.1, 16).ok()
    }

    /// The mark that a version is pinned.
    pub fn config_pin(&self, path: &ConfigPath, version: i64) -> Bytes {
        self.at("history/pin/", &format!("{}//{version:016x}", path.path()))
    }

    /// The marks of the versions from `first` up to and with `last`.
    pub fn config_pins(&self, path: &ConfigPath, first: i64, last: i64) -> KeyRange {
        KeyRange::span(
            self.config_pin(path, first),
            self.config_pin(path, last.saturating_add(1)),
        )
    }

    /// The draft of a config item.
    pub fn draft(&self, path: &ConfigPath) -> Bytes {
        self.at("history/draft/", &path.path())
    }

    /// The config key at the end of the key of a draft.
    pub fn parse_draft(&self, namespace: &Namespace, key: &[u8]) -> Option<ConfigKey> {
        let room = self.at("history/draft/", &format!("{namespace}/"));
        let key = std::str::from_utf8(key.strip_prefix(&room[..])?).ok()?;
        ConfigKey::parse(key).ok()
    }

    /// The drafts of a namespace whose key begins with `prefix`.
    pub fn drafts(&self, namespace: &Namespace, prefix: &str) -> KeyRange {
        KeyRange::prefix(self.at("history/draft/", &format!("{namespace}/{prefix}")))
    }

    /// A release.
    pub fn release(&self, path: &ReleasePath) -> Bytes {
        self.at("history/release/", &path.path())
    }

    /// Where a release is listed: later ones come first.
    pub fn released(&self, namespace: &Namespace, time: SystemTime, random: u32) -> Bytes {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        let place = format!("{namespace}/{:016x}.{random:08x}", u64::MAX - micros);
        self.at("history/released/", &place)
    }

    /// Where the releases of a namespace are listed.
    pub fn releases(&self, namespace: &Namespace) -> KeyRange {
        KeyRange::prefix(self.at("history/released/", &format!("{namespace}/")))
    }

    /// What is remembered of a deed.
    pub fn audit_entry(&self, namespace: &Namespace, id: u128) -> Bytes {
        self.at("history/audit/", &format!("{namespace}/{id:032x}"))
    }

    /// Whatever is remembered of deeds and not sealed yet, in all namespaces.
    pub fn unsealed(&self) -> KeyRange {
        KeyRange::prefix(self.at("history/audit/", ""))
    }

    /// Whatever is remembered of deeds in a namespace and not sealed yet.
    pub fn unsealed_in(&self, namespace: &Namespace) -> KeyRange {
        KeyRange::prefix(self.at("history/audit/", &format!("{namespace}/")))
    }

    /// Whatever is sealed, in all namespaces.
    pub fn seals(&self) -> KeyRange {
        KeyRange::prefix(self.at("history/seal/", ""))
    }

    /// A stretch of what is remembered. Larger numbers come first, so that the newest one is found
    /// by reading one key.
    pub fn seal(&self, namespace: &Namespace, number: i64) -> Bytes {
        let place = i64::MAX - number;
        self.at("history/seal/", &format!("{namespace}/{place:016x}"))
    }

    /// The stretches of a namespace with this number and less.
    pub fn seals_up_to(&self, namespace: &Namespace, number: i64) -> KeyRange {
        // No stretch has the number 0.
        KeyRange::span(self.seal(namespace, number), self.seal(namespace, 0))
    }

    /// The namespace, and what follows it, in a key of the audit.
    pub fn parse_audit(&self, key: &[u8]) -> Option<(Namespace, Bytes)> {
        let text = std::str::from_utf8(key).ok()?;
        let rest = text.strip_prefix(&self.root)?.strip_prefix("history/")?;
        let (_, path) = rest.split_once('/')?;
        let (namespace, end) = path.split_once('/')?;
        let end = Bytes::copy_from_slice(end.as_bytes());
        Some((Namespace::parse(namespace).ok()?, end))
    }

    /// The number of the stretch at a key.
    pub fn parse_seal(&self, key: &[u8]) -> Option<i64> {
        let (namespace, end) = self.parse_audit(key)?;
        let place = i64::from_str_radix(std::str::from_utf8(&end).ok()?, 16).ok()?;
        let number = i64::MAX.checked_sub(place)?;
        (number > 0 && self.seal(&namespace, number) == key).then_some(number)
    }
}
