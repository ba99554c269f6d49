//! Which files of a directory are configs.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use crate::cli::config::item;

/// What is in a directory.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The files that are configs, by key.
    pub(super) files: BTreeMap<String, PathBuf>,
    /// What is neither a config nor hidden, and why.
    pub(super) odd: Vec<String>,
}

/// Looks through a directory. One that does not exist is empty.
pub(super) fn walk(root: &Path) -> io::Result<Found> {
    let mut found = Found::default();
    let mut folders = vec![(root.to_owned(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && folder == root => break,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = entry.path();
            let key = name
                .to_str()
                .map(|name| format!("{prefix}{}", segment(name)));
            let fault = match &key {
                None => Some("is no UTF-8".into()),
                Some(key) => item::fault_of_key(key),
            };
            // Of the entry itself, not of what a link points at.
            let kind = entry.file_type()?;
            match (fault, key) {
                (None, Some(key)) if kind.is_dir() => folders.push((path, format!("{key}/"))),
                (None, Some(key)) if kind.is_file() => {
                    if let Some(other) = found.files.insert(key, path.clone()) {
                        let (path, other) = (path.display(), other.display());
                        found
                            .odd
                            .push(format!("{path} has the same key as {other}"));
                    }
                }
                (None, _) if kind.is_symlink() => {
                    found
                        .odd
                        .push(format!("{} is a symbolic link", path.display()));
                }
                (None, _) => found.odd.push(format!("{} is no file", path.display())),
                (Some(fault), _) => found.odd.push(format!("{} {fault}", path.display())),
            }
        }
    }
    // Directories list their entries in no order.
    found.odd.sort();
    Ok(found)
}

/// The name of the file or directory for a segment of a key.
pub(super) fn file_name(segment: &str) -> String {
    match segment.starts_with('.') {
        true => format!("+{segment}"),
        false => segment.to_owned(),
    }
}

fn segment(file_name: &str) -> &str {
    file_name.trim_start_matches('+')
}
