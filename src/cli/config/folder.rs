//! Configs as a directory of files, so that they can be kept in a repository.
//!
//! - The path of a file is the key; its extension says the type (`item::guess`).
//! - What a file does not say (another type, labels, a description) is in [`SIDECAR`].
//! - What is hidden is no config: the sidecar, `.git`, left-over temporary files. So `+` before a
//!   name, which no key can have, stands for nothing: `+.env` is the key `.env`. It also keeps the
//!   key `db` apart from the directory of `db/host`.
//! - Links are neither followed nor written through, so that nothing outside of the directory is
//!   read or changed.

mod read;
mod sidecar;
mod walk;
mod write;

pub(super) use self::{read::read, write::write};

/// The file for what other files do not say.
pub(super) const SIDECAR: &str = ".stanchion.toml";
