//! How replicas get at members that do not let everybody in.

use std::fs;

use tempfile::NamedTempFile;

use crate::support::{
    etcd::{Launch, PASSWORD, USER},
    pki::{Authority, Files},
};

/// How members know whom they let in before.
#[derive(Debug, Clone, Copy)]
pub enum Tokens {
    /// Each by heart, until it restarts or two seconds after the token was last used.
    Remembered,
    /// By their signature, for two seconds.
    Signed,
}

/// What replicas show to members, who want TLS, a certificate and a password.
pub struct Access {
    /// Who signed all certificates at first.
    pub authority: Authority,
    /// Whom the replicas trust, and their certificate. It names a user that there is not.
    files: Files,
    password: NamedTempFile,
    /// What members sign tokens with.
    key: NamedTempFile,
    /// What members trust and show.
    members: Files,
}

// === impl Access ===

impl Access {
    pub fn new() -> Self {
        let authority = Authority::new();
        let [password, key] = [PASSWORD, "what only the members know"].map(|text| {
            let file = NamedTempFile::new().unwrap();
            fs::write(file.path(), text).unwrap();
            file
        });
        Self {
            files: Files::new(&authority, &authority.issue_to("nobody")),
            password,
            key,
            members: Files::new(&authority, &authority.issue()),
            authority,
        }
    }

    /// Has members talk TLS, and hand out such tokens.
    pub fn prepare(&self, launch: &mut Launch, tokens: Tokens) {
        launch.tls = Some(self.members.clone());
        let key = self.key.path().display();
        launch.flags.push(match tokens {
            Tokens::Remembered => "--auth-token-ttl=2".to_owned(),
            Tokens::Signed => {
                format!("--auth-token=jwt,sign-method=HS256,ttl=2s,priv-key={key}")
            }
        });
        // Who asks etcd past the replicas logs in all the time: let that cost little.
        launch.flags.push("--bcrypt-cost=4".to_owned());
    }

    /// The flags of a replica.
    pub fn arguments(&self) -> [String; 5] {
        [
            format!("--etcd-ca-file={}", self.files.ca().display()),
            format!("--etcd-cert-file={}", self.files.certificate().display()),
            format!("--etcd-key-file={}", self.files.key().display()),
            format!("--etcd-user={USER}"),
            format!("--etcd-password-file={}", self.password.path().display()),
        ]
    }

    /// Has members and replicas trust these authorities, at the next handshake or start of each.
    pub fn trust(&self, authorities: &[&Authority]) {
        let all: String = authorities.iter().map(|one| one.certificate()).collect();
        self.members.trust(&all);
        self.files.trust(&all);
    }

    /// Has members and replicas show what this authority signed.
    pub fn show(&self, authority: &Authority) {
        self.members.show(&authority.issue());
        self.files.show(&authority.issue_to("nobody"));
    }
}
