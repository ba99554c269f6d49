//! Certificate authorities and what they sign, made by the tests that need them.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use tempfile::TempDir;

/// A certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

/// What an authority signed, in PEM.
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

/// The files of one party: whom it trusts, and what it shows.
#[derive(Debug, Clone)]
pub struct Files {
    directory: Arc<TempDir>,
}

// === impl Authority ===

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let name = format!("test {:016x}", rand::random::<u64>());
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    /// Its own certificate, in PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A pair for 127.0.0.1 that servers and clients can use.
    pub fn issue(&self) -> Pair {
        self.sign("stanchion", &["127.0.0.1"], 2100)
    }

    /// One whose owner is a user of that name.
    pub fn issue_to(&self, user: &str) -> Pair {
        self.sign(user, &["127.0.0.1"], 2100)
    }

    /// One that is for another host.
    pub fn issue_for(&self, host: &str) -> Pair {
        self.sign("stanchion", &[host], 2100)
    }

    /// One that was valid once.
    pub fn issue_expired(&self) -> Pair {
        self.sign("stanchion", &["127.0.0.1"], 2001)
    }

    fn sign(&self, owner: &str, hosts: &[&str], until: i32) -> Pair {
        let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name.push(DnType::CommonName, owner);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

// === impl Files ===

impl Files {
    /// Trusts one authority and shows what another, or the same, signed.
    pub fn new(trusted: &Authority, own: &Pair) -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let files = Self { directory };
        files.replace(trusted, own);
        files
    }

    pub fn replace(&self, trusted: &Authority, own: &Pair) {
        self.trust(&trusted.certificate);
        self.show(own);
    }

    pub fn trust(&self, certificates: &str) {
        swap(&self.ca(), certificates);
    }

    pub fn show(&self, own: &Pair) {
        swap(&self.certificate(), &own.certificate);
        swap(&self.key(), &own.key);
    }

    pub fn ca(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    pub fn certificate(&self) -> PathBuf {
        self.directory.path().join("certificate.pem")
    }

    pub fn key(&self) -> PathBuf {
        self.directory.path().join("key.pem")
    }
}

/// Replaces a file as a careful tool does: nobody reads half of it.
fn swap(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, file).unwrap();
}
