//! The etcds that the tests run, and its tools: found or built by `tests/etcd/find`.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// An etcd, or a tool of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    /// The one that most tests use.
    Current,
    /// 3.5: the line before.
    Previous,
    /// 3.5.12: older than what is served without being told so.
    Old,
    /// `etcdutl` of the current one.
    Etcdutl,
    /// `etcdctl` of the current one.
    Etcdctl,
}

// === impl Binary ===

impl Binary {
    /// Where it is. Builds it if it is not there; without Go the test fails.
    pub fn path(self) -> &'static Path {
        static FOUND: [OnceLock<PathBuf>; 5] = [const { OnceLock::new() }; 5];
        FOUND[self as usize].get_or_init(|| {
            let found = Command::new("bash")
                .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/etcd/find"))
                .args(self.arguments())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&found.stderr);
            assert!(found.status.success(), "{self:?} was not found: {said}");
            String::from_utf8(found.stdout).unwrap().trim().into()
        })
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Current => &[],
            Self::Previous => &["--previous"],
            Self::Old => &["--old"],
            Self::Etcdutl => &["--tool", "etcdutl"],
            Self::Etcdctl => &["--tool", "etcdctl"],
        }
    }
}

#[test]
fn each_is_of_the_line_it_is_said_to_be() {
    for (binary, command, line) in [
        (Binary::Previous, "--version", "3.5."),
        (Binary::Old, "--version", "3.5.12"),
        (Binary::Etcdutl, "version", "3.6."),
        (Binary::Etcdctl, "version", "3.6."),
    ] {
        let said = Command::new(binary.path()).arg(command).output().unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        assert!(said.contains(&format!("ersion: {line}")), "{said}");
    }
}
