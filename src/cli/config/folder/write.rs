//! Configs, written as a directory.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    SIDECAR, read,
    sidecar::Note,
    walk::{file_name, walk},
};
use crate::cli::{
    config::item::Item,
    failure::Failure,
    file::{self, unwritable},
};

/// What writing came to.
#[derive(Debug, Default)]
pub(in crate::cli::config) struct Written {
    /// The keys whose files were written.
    pub(in crate::cli::config) written: Vec<String>,
    /// How many files were there already, as they are.
    pub(in crate::cli::config) unchanged: usize,
    /// The files that are none of the items. They stay.
    pub(in crate::cli::config) left: Vec<PathBuf>,
}

/// Writes items, each file as a whole. Touches no file that says it already, and removes none.
pub(in crate::cli::config) fn write(root: &Path, items: &[Item]) -> Result<Written, Failure> {
    fs::create_dir_all(root).map_err(|error| unwritable(root, &error))?;
    // Who is odd there is not ours.
    let mut there = walk(root).map_err(|error| unwritable(root, &error))?.files;
    let mut sidecar = read::sidecar(root)?;
    let folders = folders(items);
    let mut done = Written::default();
    let mut notes = BTreeMap::new();
    for item in items {
        // A key that has a file keeps it: another one would make two of it.
        let path = there
            .remove(&item.key)
            .unwrap_or_else(|| root.join(path_of(&item.key, &folders)));
        match put(root, &path, &item.content)? {
            true => done.written.push(item.key.clone()),
            false => done.unchanged += 1,
        }
        sidecar.0.remove(&item.key);
        notes.extend(Note::of(item).map(|note| (item.key.clone(), note)));
    }
    // What it says of files that stay holds on.
    sidecar.0.retain(|key, _| there.contains_key(key));
    sidecar.0.extend(notes);
    let path = root.join(SIDECAR);
    if !sidecar.0.is_empty() || path.exists() {
        put(root, &path, sidecar.text().as_bytes())?;
    }
    done.left = there.into_values().collect();
    Ok(done)
}

/// Makes a file say `content`; answers whether it had to be written.
fn put(root: &Path, path: &Path, content: &[u8]) -> Result<bool, Failure> {
    make_folders(root, path)?;
    let unwritable = |error| unwritable(path, &error);
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            return Err(Failure::usage(format!("{} is no file", path.display())));
        }
        Ok(metadata)
            if metadata.len() == content.len() as u64
                && fs::read(path).map_err(unwritable)? == content =>
        {
            return Ok(false);
        }
        _ => {}
    }
    file::replace(path, content, file::SHARED).map_err(unwritable)?;
    Ok(true)
}

/// Makes the directories between the root and a file, through no link.
fn make_folders(root: &Path, path: &Path) -> Result<(), Failure> {
    let folders: Vec<_> = path
        .ancestors()
        .skip(1)
        .take_while(|folder| *folder != root)
        .collect();
    for folder in folders.into_iter().rev() {
        match fs::symlink_metadata(folder) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => {
                return Err(Failure::usage(format!(
                    "{} has to be a directory, and is something else",
                    folder.display()
                )));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir(folder).map_err(|error| unwritable(folder, &error))?;
            }
            Err(error) => return Err(unwritable(folder, &error)),
        }
    }
    Ok(())
}

/// The keys that are directories, because others are below them.
fn folders(items: &[Item]) -> BTreeSet<&str> {
    let above =
        |item: &'_ Item| -> Vec<usize> { item.key.match_indices('/').map(|(at, _)| at).collect() };
    items
        .iter()
        .flat_map(|item| above(item).into_iter().map(|at| &item.key[..at]))
        .collect()
}

fn path_of(key: &str, folders: &BTreeSet<&str>) -> PathBuf {
    let mut path: PathBuf = key.split('/').map(file_name).collect();
    if folders.contains(key)
        && let Some(name) = path.file_name().and_then(|name| name.to_str())
    {
        path.set_file_name(format!("+{name}"));
    }
    path
}

#[cfg(test)]
mod tests {
    use stanchion_client::proto::ContentType;

    use super::{super::read as read_folder, *};

    fn items() -> Vec<Item> {
        let mut items: Vec<_> = [
            (".env", "hidden", ""),
            (".git", "a name like a directory's", ""),
            (".git/config", "below it", ""),
            ("a:b@c-d_e", "", "odd"),
            ("db", "a name like a directory's", ""),
            ("db/host.json", "{}", "with a type"),
            ("db/host.json/x", "1", ""),
        ]
        .into_iter()
        .map(|(key, content, description)| Item {
            description: description.into(),
            ..Item::new(key, content)
        })
        .collect();
        items[0].content_type = ContentType::Binary;
        items[1].labels = [("team".into(), "shop".into())].into();
        items.push(Item::new("z/binary", &b"\xff\0"[..]));
        items
    }

    #[test]
    fn what_is_written_is_read_again_whatever_the_names() {
        let folder = tempfile::tempdir().unwrap();
        let done = write(folder.path(), &items()).unwrap();
        assert_eq!(done.written.len(), items().len());
        assert_eq!(read_folder(folder.path()).unwrap(), items());

        let again = write(folder.path(), &items()).unwrap();
        assert_eq!((again.written.len(), again.unchanged), (0, items().len()));
        assert!(again.left.is_empty());
    }

    #[test]
    fn files_of_others_stay_with_what_is_said_of_them() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &items()).unwrap();
        let done = write(folder.path(), &items()[1..2]).unwrap();
        assert_eq!(done.left.len(), items().len() - 1);
        assert_eq!(read_folder(folder.path()).unwrap(), items());
    }

    #[test]
    fn a_key_keeps_the_file_it_has() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &[Item::new("a", "1"), Item::new("a/b", "1")]).unwrap();
        let done = write(folder.path(), &[Item::new("a", "2")]).unwrap();
        assert_eq!(done.written, ["a"]);
        assert_eq!(fs::read(folder.path().join("+a")).unwrap(), b"2");
        assert!(read_folder(folder.path()).is_ok());
    }

    #[test]
    fn nothing_is_written_or_read_through_a_link() {
        let outside = tempfile::tempdir().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("a");
        std::os::unix::fs::symlink(outside.path(), &link).unwrap();
        assert!(write(folder.path(), &[Item::new("a/b", "1")]).is_err());
        assert!(write(folder.path(), &[Item::new("a", "1")]).is_err());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
        let error = read_folder(folder.path()).unwrap_err().to_string();
        assert!(error.contains("a is a symbolic link"), "{error}");
    }

    #[test]
    fn names_that_are_no_keys_and_files_that_are_too_large_are_all_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a b"), "").unwrap();
        fs::write(folder.path().join("+"), "").unwrap();
        fs::write(folder.path().join("+same"), "").unwrap();
        fs::write(folder.path().join("same"), "").unwrap();
        fs::write(folder.path().join("large"), vec![0; 1024 * 1024 + 1]).unwrap();
        fs::write(folder.path().join(".hidden"), "").unwrap();
        let error = read_folder(folder.path()).unwrap_err().to_string();
        for part in [
            "a b has ' '",
            "the segment ``",
            "the same key",
            "large has 1048577",
        ] {
            assert!(error.contains(part), "{error}");
        }
        assert!(!error.contains(".hidden"), "{error}");
    }

    #[test]
    fn a_note_without_a_file_is_a_mistake() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(SIDECAR), "[gone]\ntype = \"json\"").unwrap();
        let error = read_folder(folder.path()).unwrap_err().to_string();
        assert!(error.contains("`gone`, which has no file"), "{error}");
    }
}
