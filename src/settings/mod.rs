//! What can be set, and from where: a TOML file < environment < flags.
//!
//! `knobs` lists every setting once, with its doc, range and place; the file's keys, the
//! variables (`STANCHION_…`), the flags, `--help` and `--print-settings` all follow from that list.

mod knobs;
mod sources;
mod store_choice;
mod value;

use std::{net::SocketAddr, time::Duration};

use crate::{cache, checks, domain, rpc, store::etcd, telemetry};

pub use self::{
    knobs::{KNOBS, Knob},
    sources::{ServeArgs, SettingsError},
    store_choice::StoreChoice,
};

/// Everything that can be set.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the data is.
    pub store: StoreChoice,
    /// Where gRPC is served.
    pub listen: SocketAddr,
    /// Where other replicas reach this one, as host:port. Default empty: where gRPC is served.
    pub advertise: String,
    /// Where operations are served over HTTP.
    pub operations_listen: SocketAddr,
    /// Serves beyond loopback without TLS and authentication.
    pub insecure_i_know: bool,
    /// Waits at start until the store can be reached.
    pub wait_for_store: bool,
    /// How long reading the store may take at start, unless it is waited for. Default 10 s.
    pub start_timeout: Duration,
    /// How long a shutdown may take. Default 20 s.
    pub shutdown_timeout: Duration,
    /// The pool of connections to etcd; its endpoints come from `store`.
    pub etcd: etcd::Settings,
    /// Times and bounds of the domain.
    pub domain: domain::Settings,
    /// Times and bounds of the watch cache.
    pub cache: cache::Settings,
    /// Bounds of the checks of instances.
    pub checks: checks::Settings,
    /// Bounds of connections and calls.
    pub rpc: rpc::Settings,
    /// Logs, traces.
    pub telemetry: telemetry::Settings,
}

/// The cluster is not asked for its members more often than this.
const MIN_SYNC_INTERVAL: Duration = Duration::from_millis(100);

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            store: StoreChoice::File("stanchion-data".into()),
            listen: SocketAddr::from(([127, 0, 0, 1], 7650)),
            advertise: String::new(),
            operations_listen: SocketAddr::from(([127, 0, 0, 1], 7651)),
            insecure_i_know: false,
            wait_for_store: false,
            start_timeout: Duration::from_secs(10),
            shutdown_timeout: Duration::from_secs(20),
            etcd: etcd::Settings::default(),
            domain: domain::Settings::default(),
            cache: cache::Settings::default(),
            checks: checks::Settings::default(),
            rpc: rpc::Settings::default(),
            telemetry: telemetry::Settings::default(),
        }
    }
}

impl Settings {
    /// Checks each setting against its range and against the others.
    pub fn check(&self) -> Result<(), SettingsError> {
        for knob in KNOBS {
            knob.check(self)?;
        }
        let relation = |holds: bool, text: &str| {
            if holds {
                Ok(())
            } else {
                Err(SettingsError::Relation(text.to_owned()))
            }
        };
        let domain = &self.domain;
        relation(
            domain.min_ttl <= domain.default_ttl && domain.default_ttl <= domain.max_ttl,
            "session.min_ttl <= session.default_ttl <= session.max_ttl",
        )?;
        relation(
            domain.min_latch_lifetime <= domain.default_latch_lifetime
                && domain.default_latch_lifetime <= domain.max_latch_lifetime,
            "latch.min_lifetime <= latch.default_lifetime <= latch.max_lifetime",
        )?;
        relation(
            domain.drain_deadline <= domain.max_drain_deadline,
            "drain.deadline <= drain.max_deadline",
        )?;
        relation(
            2 * self.cache.idle_probe <= domain.removal_hold,
            "2 * cache.idle_probe <= registry.removal_hold",
        )?;
        relation(
            self.listen.port() == 0 || self.listen != self.operations_listen,
            "listen and operations_listen must differ",
        )?;
        relation(
            self.rpc.watch.part_bytes < self.rpc.max_response_bytes,
            "watch.part_bytes < rpc.max_response_bytes",
        )?;
        relation(
            domain.max_config_bytes < self.rpc.max_request_bytes.min(self.rpc.max_response_bytes),
            "config.max_bytes < rpc.max_request_bytes and rpc.max_response_bytes",
        )?;
        relation(
            domain.config_keep_versions <= domain.config_max_versions,
            "config.keep_versions <= config.max_versions",
        )?;
        relation(
            domain
                .config_keep_deleted
                .is_none_or(|kept| kept >= Duration::from_secs(3600)),
            "config.keep_deleted >= 1h, or off",
        )?;
        relation(
            domain
                .audit_retention
                .is_none_or(|kept| kept >= Duration::from_secs(3600)),
            "audit.retention >= 1h, or off",
        )?;
        relation(
            self.cache.idle_probe < self.rpc.store_silence,
            "cache.idle_probe < rpc.store_silence, because a quiet store is asked that often",
        )?;
        relation(
            self.rpc.default_deadline <= self.rpc.max_deadline,
            "rpc.default_deadline <= rpc.max_deadline",
        )?;
        self.telemetry
            .check()
            .map_err(|error| SettingsError::Telemetry(error.to_string()))?;
        relation(
            domain.commit_timeout < self.rpc.default_deadline,
            "commit.timeout < rpc.default_deadline, so that a caller is told how its write ended",
        )?;
        relation(
            self.etcd.backoff_min <= self.etcd.backoff_max,
            "etcd.backoff_min <= etcd.backoff_max",
        )?;
        let etcd = &self.etcd;
        if let StoreChoice::Etcd { tls: true, .. } = self.store {
            relation(
                !etcd.ca_file.is_empty(),
                "etcds:// needs etcd.ca_file: the certificates that vouch for etcd's members",
            )?;
        } else {
            let of_tls = [
                &etcd.ca_file,
                &etcd.cert_file,
                &etcd.key_file,
                &etcd.server_name,
            ];
            relation(
                of_tls.iter().all(|text| text.is_empty()),
                "etcd.ca_file, etcd.cert_file, etcd.key_file and etcd.server_name are for etcds://",
            )?;
        }
        relation(
            etcd.cert_file.is_empty() == etcd.key_file.is_empty(),
            "etcd.cert_file and etcd.key_file go together",
        )?;
        relation(
            etcd.user.is_empty() == etcd.password_file.is_empty(),
            "etcd.user and etcd.password_file go together",
        )?;
        relation(
            self.etcd
                .sync_interval
                .is_none_or(|interval| interval >= MIN_SYNC_INTERVAL),
            "etcd.sync_interval >= 100ms, or off",
        )?;
        for (name, address) in [
            ("listen", self.listen),
            ("operations_listen", self.operations_listen),
        ] {
            if !address.ip().is_loopback() && !self.insecure_i_know {
                return Err(SettingsError::Exposed { name, address });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_in_range_and_fit_together() {
        Settings::default().check().unwrap();
    }

    #[test]
    fn beyond_loopback_needs_to_be_asked_for() {
        let mut settings = Settings {
            listen: SocketAddr::from(([0, 0, 0, 0], 7650)),
            ..Settings::default()
        };
        let error = settings.check().unwrap_err();
        assert!(error.to_string().contains("insecure"), "{error}");
        settings.insecure_i_know = true;
        settings.check().unwrap();
    }

    #[test]
    fn related_settings_are_checked_against_each_other() {
        let mut settings = Settings::default();
        settings.domain.min_ttl = Duration::from_secs(60);
        assert!(settings.check().is_err());
    }
}
