//! A directory, read as configs.

use std::{fs, io, path::Path};

use super::{
    SIDECAR,
    sidecar::Sidecar,
    walk::{Found, walk},
};
use crate::cli::{
    config::item::{Item, MAX_CONTENT},
    failure::Failure,
    file::unreadable,
};

/// The configs of a directory, in the order of their keys, which are relative to it.
pub(in crate::cli::config) fn read(root: &Path) -> Result<Vec<Item>, Failure> {
    // To take a mistyped directory for an empty one would be dear.
    fs::read_dir(root).map_err(|error| unreadable(root, &error))?;
    let Found { files, mut odd } = walk(root).map_err(|error| unreadable(root, &error))?;
    let mut notes = sidecar(root)?;
    let mut items = Vec::with_capacity(files.len());
    for (key, path) in files {
        let size = fs::metadata(&path)
            .map_err(|error| unreadable(&path, &error))?
            .len();
        if size > MAX_CONTENT as u64 {
            let path = path.display();
            odd.push(format!(
                "{path} has {size} bytes, more than a config may have ({MAX_CONTENT})"
            ));
            continue;
        }
        let content = fs::read(&path).map_err(|error| unreadable(&path, &error))?;
        let note = notes.0.remove(&key);
        let mut item = Item::new(key, content);
        if let Some(note) = note {
            note.apply(&mut item);
        }
        items.push(item);
    }
    if odd.is_empty() {
        odd.extend(
            notes
                .0
                .keys()
                .map(|key| format!("{SIDECAR} speaks of `{key}`, which has no file")),
        );
    }
    match odd.is_empty() {
        true => Ok(items),
        false => Err(Failure::usage(format!(
            "{} cannot be taken for configs: {}",
            root.display(),
            odd.join("; ")
        ))),
    }
}

/// What the sidecar says; nothing if there is none.
pub(super) fn sidecar(root: &Path) -> Result<Sidecar, Failure> {
    let path = root.join(SIDECAR);
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Sidecar::default()),
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(Failure::usage(format!("{} is no file", path.display()))),
        Err(error) => return Err(unreadable(&path, &error)),
    }
    let text = fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
    Sidecar::parse(&text).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}
