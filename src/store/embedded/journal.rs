//! The durable copy: keys, leases and the revision in one redb file. History is not kept.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use redb::{
    Builder, Database, DatabaseError, Durability, ReadableTable, TableDefinition, TableHandle,
    WriteTransaction,
};

use super::{
    OpenError,
    digest::{Digest, Record},
    state::State,
};
use crate::store::{KeyValue, LeaseId, Revision};

/// The file inside the data directory.
const FILE: &str = "stanchion.redb";

/// What this code reads and writes. A change of the layout below takes the next number.
const FORMAT: i64 = 2;

/// `format`, `revision`, `openings`, and `digest`, which is of everything else.
const META: TableDefinition<'_, &str, i64> = TableDefinition::new("meta");

/// Key → create revision, mod revision, version, lease (each 8 bytes, little endian), value.
const KEYS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("keys");

/// Lease id → time to live in seconds.
const LEASES: TableDefinition<'_, i64, u64> = TableDefinition::new("leases");

const HEADER: usize = 32;

/// Everything is in memory too, so that redb's own cache (1 GiB by default) may be small.
const CACHE_BYTES: usize = 32 * 1024 * 1024;

/// An open file, locked against other processes.
#[derive(Debug)]
pub(super) struct Journal {
    database: Database,
}

/// What was found in the file.
pub(super) struct Opened {
    pub(super) journal: Journal,
    pub(super) state: State,
    /// How often the file was opened, this time included.
    pub(super) openings: i64,
}

// === impl Journal ===

impl Journal {
    /// Opens the file in `directory`, or makes both.
    pub(super) fn open(directory: &Path) -> Result<Opened, OpenError> {
        let path = directory.join(FILE);
        let failed = |source: io::Error| OpenError::Io {
            path: path.clone(),
            message: source.to_string(),
        };
        std::fs::create_dir_all(directory).map_err(failed)?;
        let fresh = !path.exists();
        let database = Builder::new()
            .set_cache_size(CACHE_BYTES)
            .create(&path)
            .map_err(|error| match error {
                DatabaseError::DatabaseAlreadyOpen => OpenError::InUse {
                    directory: directory.to_owned(),
                },
                error => unreadable(&path, error.into()),
            })?;
        let opened = Self::load(database, &path)?;
        if fresh {
            // The file must not vanish with a directory that was never written down.
            for directory in [Some(directory), directory.parent()].into_iter().flatten() {
                sync_directory(directory).map_err(failed)?;
            }
        }
        Ok(opened)
    }

    /// Reads what a database holds and starts its next opening. `path` serves messages.
    pub(super) fn load(database: Database, path: &Path) -> Result<Opened, OpenError> {
        let (state, openings) =
            open_next(&database, path).map_err(|error| error.into_open_error(path))?;
        Ok(Opened {
            journal: Self { database },
            state,
            openings,
        })
    }

    /// Makes durable what `state` changed after revision `since`, and the leases named. Returns
    /// after the data was synced.
    pub(super) fn write(
        &self,
        state: &State,
        since: Revision,
        leases: impl IntoIterator<Item = LeaseId>,
    ) -> Result<(), redb::Error> {
        let transaction = self.begin()?;
        let mut meta = transaction.open_table(META)?;
        let mut digest = Digest::stored(meta.get("digest")?.map_or(0, |number| number.value()));
        {
            let mut table = transaction.open_table(LEASES)?;
            for id in leases {
                let before = match state.lease(id) {
                    Some(ttl) => {
                        digest.add(Record::Lease(id, ttl.as_secs()));
                        table.insert(id, ttl.as_secs())?
                    }
                    None => table.remove(id)?,
                };
                if let Some(before) = before {
                    digest.remove(Record::Lease(id, before.value()));
                }
            }
        }
        {
            let mut table = transaction.open_table(KEYS)?;
            for (_, events) in state.changes_from(since + 1) {
                for event in events.iter() {
                    let key = event.key();
                    if let Some(before) = table.remove(&**key)? {
                        digest.remove(Record::Key(key, before.value()));
                    }
                    if let Some(kv) = state.get(key) {
                        let mut slot = table.insert_reserve(&**key, HEADER + kv.value.len())?;
                        encode(kv, slot.as_mut());
                        digest.add(Record::Key(key, slot.as_mut()));
                    }
                }
            }
        }
        if let Some(before) = meta.insert("revision", state.revision)? {
            digest.remove(Record::Number("revision", before.value()));
        }
        digest.add(Record::Number("revision", state.revision));
        meta.insert("digest", digest.number())?;
        drop(meta);
        transaction.commit()?;
        Ok(())
    }

    fn begin(&self) -> Result<WriteTransaction, redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        Ok(transaction)
    }
}

/// Why a file could not be read.
enum LoadError {
    Redb(redb::Error),
    Format(i64),
    Corrupt(String),
}

fn open_next(database: &Database, path: &Path) -> Result<(State, i64), LoadError> {
    let transaction = database.begin_write()?;
    let names: Vec<String> = transaction
        .list_tables()?
        .map(|table| table.name().to_owned())
        .collect();
    let fresh = names.is_empty();
    if !fresh && !names.iter().any(|name| name == META.name()) {
        return Err(LoadError::Corrupt("it was not written by Stanchion".into()));
    }
    let (state, openings) = {
        let mut meta = transaction.open_table(META)?;
        let number = |name: &str| -> Result<Option<i64>, LoadError> {
            Ok(meta.get(name)?.map(|number| number.value()))
        };
        let needed = |name: &str| -> Result<i64, LoadError> {
            number(name)?.ok_or_else(|| LoadError::Corrupt(format!("it has no {name}")))
        };
        let mut digest = Digest::default();
        let (state, openings) = if fresh {
            (State::new(1, 0), 1)
        } else {
            let format = needed("format")?;
            if format != FORMAT {
                return Err(LoadError::Format(format));
            }
            // An opening takes a revision of its own: what came before it is compacted.
            let (revision, openings) = (needed("revision")?, needed("openings")?);
            let mut state = State::new(revision + 1, revision + 1);
            read_leases(&transaction, &mut state, &mut digest)?;
            read_keys(&transaction, &mut state, &mut digest)?;
            let mut all = digest;
            all.add(Record::Number("revision", revision));
            all.add(Record::Number("openings", openings));
            if all != Digest::stored(needed("digest")?) {
                return Err(LoadError::Corrupt(
                    "what it holds is not what was written".into(),
                ));
            }
            (state, openings + 1)
        };
        digest.add(Record::Number("revision", state.revision));
        digest.add(Record::Number("openings", openings));
        meta.insert("format", FORMAT)?;
        meta.insert("revision", state.revision)?;
        meta.insert("openings", openings)?;
        meta.insert("digest", digest.number())?;
        (state, openings)
    };
    transaction.open_table(KEYS)?;
    transaction.open_table(LEASES)?;
    transaction.commit()?;
    tracing::debug!(path = %path.display(), revision = state.revision, openings, "opened the store");
    Ok((state, openings))
}

fn read_leases(
    transaction: &WriteTransaction,
    state: &mut State,
    digest: &mut Digest,
) -> Result<(), LoadError> {
    for entry in transaction.open_table(LEASES)?.iter()? {
        let (id, seconds) = entry?;
        let ttl = Duration::from_secs(seconds.value());
        if id.value() <= 0 || ttl.is_zero() || ttl > super::lease::MAX_TTL {
            return Err(LoadError::Corrupt(format!(
                "lease {} has a time to live of {} s",
                id.value(),
                ttl.as_secs()
            )));
        }
        digest.add(Record::Lease(id.value(), seconds.value()));
        state.add_lease(id.value(), ttl);
    }
    Ok(())
}

fn read_keys(
    transaction: &WriteTransaction,
    state: &mut State,
    digest: &mut Digest,
) -> Result<(), LoadError> {
    for entry in transaction.open_table(KEYS)?.iter()? {
        let (key, stored) = entry?;
        let kv = decode(key.value(), stored.value()).filter(|kv| {
            kv.create_revision > 0
                && kv.create_revision <= kv.mod_revision
                && kv.mod_revision < state.revision
                && (kv.lease == 0 || state.lease(kv.lease).is_some())
        });
        let Some(kv) = kv else {
            return Err(LoadError::Corrupt(format!(
                "the record of key {:?} makes no sense",
                Bytes::copy_from_slice(key.value())
            )));
        };
        digest.add(Record::Key(key.value(), stored.value()));
        state.restore(kv);
    }
    Ok(())
}

fn encode(kv: &KeyValue, slot: &mut [u8]) {
    let numbers = [kv.create_revision, kv.mod_revision, kv.version, kv.lease];
    for (place, number) in slot.chunks_exact_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    slot[HEADER..].copy_from_slice(&kv.value);
}

fn decode(key: &[u8], stored: &[u8]) -> Option<KeyValue> {
    let (header, value) = stored.split_at_checked(HEADER)?;
    let mut numbers = header
        .chunks_exact(8)
        .map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap_or_default()));
    Some(KeyValue {
        key: Bytes::copy_from_slice(key),
        value: Bytes::copy_from_slice(value),
        create_revision: numbers.next()?,
        mod_revision: numbers.next()?,
        version: numbers.next()?,
        lease: numbers.next()?,
    })
}

fn unreadable(path: &Path, error: redb::Error) -> OpenError {
    let path: PathBuf = path.to_owned();
    let message = error.to_string();
    match error {
        // How redb says that the file is none of its own, or ends too early.
        redb::Error::Io(io)
            if matches!(
                io.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ) =>
        {
            OpenError::Corrupt { path, message }
        }
        redb::Error::Io(_) => OpenError::Io { path, message },
        _ => OpenError::Corrupt { path, message },
    }
}

#[cfg(unix)]
fn sync_directory(directory: &Path) -> io::Result<()> {
    // A relative directory of one segment has the parent "".
    let directory = if directory.as_os_str().is_empty() {
        Path::new(".")
    } else {
        directory
    };
    File::open(directory)?.sync_all()
}

#[cfg(not(unix))]
fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}

// === impl LoadError ===

impl LoadError {
    fn into_open_error(self, path: &Path) -> OpenError {
        match self {
            Self::Redb(error) => unreadable(path, error),
            Self::Format(found) => OpenError::Format {
                path: path.to_owned(),
                found,
                known: FORMAT,
            },
            Self::Corrupt(message) => OpenError::Corrupt {
                path: path.to_owned(),
                message,
            },
        }
    }
}

impl<E: Into<redb::Error>> From<E> for LoadError {
    fn from(error: E) -> Self {
        Self::Redb(error.into())
    }
}
