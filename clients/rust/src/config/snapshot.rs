//! The last good version of a config on the local disk, for when no server answers.
//!
//! A line that names the format, the checksum of all that follows it, when the service last
//! confirmed the version, and the [`Config`] as the service sent it.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use prost::Message;

use super::place::place;
use crate::{error::Result, proto::Config};

const HEAD: &[u8] = b"stanchion config snapshot 1\n";

/// Cannot be part of a key, so that the snapshot of `a` is not in the way of that of `a/b`.
const SUFFIX: &str = "+snapshot";

/// The snapshot of one config.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    path: PathBuf,
    namespace: String,
    key: String,
}

/// What a snapshot says.
#[derive(Debug, Clone)]
pub(super) struct Saved {
    pub(super) config: Config,
    pub(super) confirmed: SystemTime,
}

// === impl Snapshot ===

impl Snapshot {
    pub(super) fn new(directory: &Path, namespace: &str, key: &str) -> Result<Self> {
        let mut path = place(directory, namespace, key)?.into_os_string();
        path.push(SUFFIX);
        Ok(Self {
            path: path.into(),
            namespace: namespace.into(),
            key: key.into(),
        })
    }

    /// What it says; nothing if there is none. A damaged one is an error.
    pub(super) fn read(&self) -> io::Result<Option<Saved>> {
        let bytes = match fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes?,
        };
        let saved = decode(&bytes).filter(|saved| self.is_of(&saved.config));
        let damaged = || {
            let text = format!("the snapshot {} is damaged", self.path.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        saved.ok_or_else(damaged).map(Some)
    }

    /// Replaces it as a whole.
    pub(super) fn write(&self, saved: &Saved) -> io::Result<()> {
        let temporary = self
            .path
            .with_file_name(format!("+{:016x}.tmp", rand::random::<u64>()));
        if let Some(folder) = self.path.parent() {
            make_private(folder)?;
        }
        let written = (|| {
            let mut file = private().open(&temporary)?;
            file.write_all(&encode(saved))?;
            // Else a crash of the machine could leave the name with half of it.
            file.sync_all()?;
            fs::rename(&temporary, &self.path)
        })();
        if written.is_err() {
            // The error says more than that this failed as well.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    fn is_of(&self, config: &Config) -> bool {
        // The service writes the namespace out.
        let named = |name: &str| if name.is_empty() { "default" } else { name }.to_owned();
        config.key == self.key && named(&config.namespace) == named(&self.namespace)
    }
}

fn encode(Saved { config, confirmed }: &Saved) -> Vec<u8> {
    let since_epoch = confirmed
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let millis = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
    let mut body = millis.to_be_bytes().to_vec();
    body.extend(config.encode_to_vec());
    [HEAD, &checksum(&body).to_be_bytes(), &body].concat()
}

fn decode(bytes: &[u8]) -> Option<Saved> {
    let rest = bytes.strip_prefix(HEAD)?;
    let (sum, body) = rest.split_first_chunk()?;
    if checksum(body) != u64::from_be_bytes(*sum) {
        return None;
    }
    let (millis, config) = body.split_first_chunk()?;
    let millis = Duration::from_millis(u64::from_be_bytes(*millis));
    Some(Saved {
        config: Config::decode(config).ok()?,
        confirmed: SystemTime::UNIX_EPOCH.checked_add(millis)?,
    })
}

/// FNV-1a. It is for damage; who may write the file may write what he likes.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Contents may be secret.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn make_private(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved() -> Saved {
        Saved {
            config: Config {
                key: "a".into(),
                version: 7,
                content: "content".into(),
                ..Config::default()
            },
            confirmed: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        }
    }

    #[test]
    fn what_is_saved_is_read_again() {
        let read = decode(&encode(&saved())).unwrap();
        assert_eq!(
            (read.config, read.confirmed),
            (saved().config, saved().confirmed)
        );
    }

    #[test]
    fn every_damage_is_noticed() {
        let good = encode(&saved());
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(decode(&bad).is_none(), "a bit at {at}");
            assert!(decode(&good[..at]).is_none(), "cut at {at}");
        }
    }
}
