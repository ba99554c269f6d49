//! Files that are replaced as a whole: whoever reads one sees the old content or the new.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use super::{exit::Exit, failure::Failure};

/// For files that only their owner needs.
pub(crate) const PRIVATE: u32 = 0o600;

/// For files that whoever the umask lets may read.
pub(crate) const SHARED: u32 = 0o666;

/// Writes a file beside `path`, then gives it that name. A file that was there passes its mode on;
/// a new one has `mode`, as far as the umask lets it.
pub(crate) fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let former = match fs::metadata(path) {
        Ok(metadata) => Some(metadata.permissions()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    // Hidden, so that nobody who lists the directory takes it for one of the others.
    let name = format!(".stanchion-{:016x}.tmp", rand::random::<u64>());
    let temporary = path.with_file_name(name);
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(if former.is_some() { PRIVATE } else { mode })
            .open(&temporary)?;
        file.write_all(content)?;
        if let Some(permissions) = former {
            file.set_permissions(permissions)?;
        }
        // Else a crash of the machine could leave the name with half of the content.
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        // The error says more than that this failed as well.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Writes what programs that read only files are to find at `path`, where it points if it is a link.
pub(crate) fn render(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let target = match fs::canonicalize(path) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(unwritable(path, &error)),
    };
    replace(&target, content, PRIVATE).map_err(|error| unwritable(path, &error))
}

/// A file or directory that was named could not be read.
pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::usage(format!("cannot read {}: {error}", path.display()))
}

/// A file could not be written.
pub(crate) fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        Exit::Failed,
        format!("cannot write {}: {error}", path.display()),
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_is_replaced_and_keeps_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        replace(&path, b"1", PRIVATE).unwrap();
        assert_eq!(mode(&path), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        replace(&path, b"2", PRIVATE).unwrap();
        assert_eq!(
            (fs::read(&path).unwrap(), mode(&path)),
            (b"2".to_vec(), 0o640)
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_replaced_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::create_dir(&path).unwrap();
        assert!(replace(&path, b"1", PRIVATE).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
