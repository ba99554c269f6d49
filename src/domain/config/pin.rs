//! Pins: versions that stay however old they get.
//!
//! A pin is a key beside the version, which itself never changes. Whoever pins compares that the
//! version is there, and whoever forgets versions that they have no pin.

use std::{collections::BTreeSet, time::SystemTime};

use crate::{
    domain::{
        Error,
        audit::{AuditOperation as O, Caller, Deed},
        guard::Guard,
        keyspace::ConfigPath,
        names::Label,
        records,
        revise::ATTEMPTS,
    },
    store::{Compare, KeyRange, KeyValue, Operation as Step, RangeRequest, Revision, Txn},
};

use super::{Configs, history};

/// That a version is pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// Who pinned it, unverified.
    pub actor: Label,
    /// Why, in the author's words.
    pub comment: String,
    /// When.
    pub create_time: SystemTime,
    /// The revision at which it was pinned; `0`: it only would be.
    pub revision: Revision,
}

/// Which version is to be pinned, or not to be any more.
#[derive(Debug, Clone)]
pub struct Pinning {
    /// The item.
    pub path: ConfigPath,
    /// The version.
    pub version: i64,
    /// The lock that must be held.
    pub guard: Option<Guard>,
    /// Who asks, unverified.
    pub actor: Label,
    /// Who calls.
    pub caller: Caller,
    /// Why, in the asker's words.
    pub comment: String,
    /// Whether it is only asked what would come of it.
    pub validate_only: bool,
}

// === impl Configs ===

impl Configs {
    /// Pins a version. Says whether that changed something, and at which revision it was so.
    ///
    /// Errors: [`Error::NotFound`] if there is no such version, [`Error::TooManyPins`],
    /// [`Error::Conflict`].
    pub async fn pin(&self, pinning: &Pinning) -> Result<(Pin, bool, Revision), Error> {
        let Pinning { path, version, .. } = pinning;
        let keys = &self.core.keys;
        let (key, of_version) = (
            keys.config_pin(path, *version),
            keys.config_version(path, *version),
        );
        let guard = pinning.guard.as_ref();
        let pin = Pin {
            actor: pinning.actor.clone(),
            comment: pinning.comment.clone(),
            create_time: self.core.clock.system_time(),
            revision: 0,
        };
        let record = records::encode_config_pin(&pin);
        for attempt in 0..ATTEMPTS {
            self.core.make_way(attempt).await;
            let pins = keys.config_pins(path, 1, i64::MAX);
            let found = self.core.store.range(RangeRequest::new(pins.clone())).await;
            let found = found.map_err(Error::Store)?;
            let revision = found.revision;
            if let Some(there) = found.kvs.iter().find(|kv| kv.key == key) {
                let there = decode(there)?;
                self.core.require(guard).await?;
                return Ok((there, false, revision));
            }
            let limit = self.core.settings.max_pins;
            if found.kvs.len() >= limit {
                self.core.require(guard).await?;
                return Err(Error::TooManyPins {
                    name: path.path(),
                    limit,
                });
            }
            let mut txn = Txn::new()
                .when(Compare::exists(of_version.clone()))
                .when(Compare::absent(key.clone()))
                // They are not more than they were seen to be.
                .when(Compare::none_newer(pins, revision))
                .then(Step::put(key.clone(), record.clone()))
                .then(
                    self.core
                        .deed(&path.namespace, pinning.deed(O::PinConfigVersion)),
                )
                .otherwise(Step::get(key.clone()))
                .otherwise(Step::Range(
                    RangeRequest::new(KeyRange::key(of_version.clone())).keys_only(),
                ));
            if pinning.validate_only {
                txn.success.clear();
            }
            let response = self.core.commit(guard, txn).await?;
            if response.succeeded {
                let revision = response.revision;
                let made = if pinning.validate_only { 0 } else { revision };
                let pin = Pin {
                    revision: made,
                    ..pin
                };
                return Ok((pin, true, revision));
            }
            // The answer to an earlier sending may have got lost.
            if let Some(own) = response.found(0).filter(|there| there.value == record) {
                return Ok((decode(own)?, true, response.revision));
            }
            if response.found(1).is_none() {
                return Err(history::missing(path, *version));
            }
        }
        Err(Error::Conflict { name: path.path() })
    }

    /// Takes the pin of a version away. Says whether there was one, and at which revision it was
    /// gone. A full store takes it too.
    ///
    /// Errors: [`Error::Conflict`].
    pub async fn unpin(&self, pinning: &Pinning) -> Result<(bool, Revision), Error> {
        let Pinning { path, version, .. } = pinning;
        let guard = pinning.guard.as_ref();
        for attempt in 0..ATTEMPTS {
            self.core.make_way(attempt).await;
            let (there, revision) = self.find_pin(path, *version).await?;
            let there = match there {
                Some(there) if !pinning.validate_only => there,
                there => {
                    self.core.require(guard).await?;
                    return Ok((there.is_some(), revision));
                }
            };
            let key = self.core.keys.config_pin(path, *version);
            let txn = Txn::new()
                .when(Compare::mod_revision(key.clone(), there.revision))
                .then(Step::delete(key.clone()))
                .otherwise(Step::get(key));
            let entry = pinning.deed(O::UnpinConfigVersion);
            let entry = self.core.deed(&path.namespace, entry);
            let (response, _) = self.core.free(guard, txn, entry).await?;
            if response.succeeded || response.found(0).is_none() {
                return Ok((true, response.revision));
            }
        }
        Err(Error::Conflict { name: path.path() })
    }

    /// The pin of a version, if it has one, and the revision at which that was so.
    async fn find_pin(
        &self,
        path: &ConfigPath,
        version: i64,
    ) -> Result<(Option<Pin>, Revision), Error> {
        let keys = KeyRange::key(self.core.keys.config_pin(path, version));
        let found = self.core.store.range(RangeRequest::new(keys)).await;
        let found = found.map_err(Error::Store)?;
        let pin = found.kvs.first().map(decode).transpose()?;
        Ok((pin, found.revision))
    }

    /// Those of these versions that are pinned, once the store has come as far as `at_least`.
    pub(super) async fn pinned_among(
        &self,
        path: &ConfigPath,
        versions: &BTreeSet<i64>,
        at_least: Revision,
    ) -> Result<BTreeSet<i64>, Error> {
        let Some((oldest, newest)) = versions.first().zip(versions.last()) else {
            return Ok(BTreeSet::new());
        };
        let pins = self.core.keys.config_pins(path, *oldest, *newest);
        let (mut pinned, _) = self.pinned(pins, Some(at_least)).await?;
        pinned.retain(|version| versions.contains(version));
        Ok(pinned)
    }

    /// Whether a version is pinned, once the store has come as far as `at_least`.
    pub(super) async fn is_pinned(
        &self,
        path: &ConfigPath,
        version: i64,
        at_least: Revision,
    ) -> Result<bool, Error> {
        let only = BTreeSet::from([version]);
        let pinned = self.pinned_among(path, &only, at_least).await?;
        Ok(!pinned.is_empty())
    }

    /// The versions that have a pin in a range of pins, and the revision at which that was so. Read
    /// from any member of the store that has come as far as `at_least`, or from a quorum.
    pub(super) async fn pinned(
        &self,
        pins: KeyRange,
        at_least: Option<Revision>,
    ) -> Result<(BTreeSet<i64>, Revision), Error> {
        let request = RangeRequest::new(pins).keys_only();
        let found = self.look_up(request, at_least).await?;
        let numbers = found.kvs.iter();
        let numbers = numbers.filter_map(|kv| self.core.keys.parse_config_version(&kv.key));
        Ok((numbers.collect(), found.revision))
    }
}

// === impl Pinning ===

impl Pinning {
    /// What the audit says of it.
    fn deed(&self, operation: O) -> Deed<'_> {
        Deed {
            operation,
            subject: self.path.key.to_string(),
            detail: format!("version {}", self.version),
            actor: &self.actor,
            caller: &self.caller,
            comment: &self.comment,
            request_id: "",
        }
    }
}

fn decode(kv: &KeyValue) -> Result<Pin, Error> {
    records::config_pin(kv).map_err(|error| history::undecodable(kv, &error))
}
