//! Where a config has its file in a directory of such files.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// `<directory>/<namespace>/<key>`. Refuses what would lead out of the directory: nobody has asked a
/// server yet whether it is a key.
pub(super) fn place(directory: &Path, namespace: &str, key: &str) -> Result<PathBuf> {
    let namespace = match namespace {
        "" => "default",
        namespace => namespace,
    };
    if namespace.contains('/') || !is_path_of_names(namespace) {
        return Err(Error::invalid("namespace", "is no name"));
    }
    if !is_path_of_names(key) {
        return Err(Error::invalid("key", "is no key"));
    }
    Ok(directory.join(namespace).join(key))
}

fn is_path_of_names(text: &str) -> bool {
    text.split('/').all(|segment| {
        !matches!(segment, "" | "." | "..")
            && segment
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._:@-".contains(&byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_place_in_the_directory_and_what_leads_out_has_none() {
        let of = |namespace, key| place(Path::new("/d"), namespace, key);
        assert_eq!(of("", "a/b").unwrap(), Path::new("/d/default/a/b"));
        for (namespace, key) in [
            ("", "../a"),
            ("", "/a"),
            ("", ""),
            ("..", "a"),
            ("a/b", "c"),
        ] {
            assert!(of(namespace, key).is_err(), "{namespace} {key}");
        }
    }
}
