//! A time of day that jumps for some processes alone.

use std::{fs, path::PathBuf};

use tempfile::TempDir;

use super::tools;

/// The time of day of those processes.
pub struct WallClock {
    directory: TempDir,
}

// === impl WallClock ===

impl WallClock {
    /// One that is right, until it is told to jump.
    pub fn new() -> Self {
        let clock = Self {
            directory: TempDir::new().unwrap(),
        };
        let source = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/faults/harness/wall_clock.c"
        );
        let library = clock.library();
        let library = library.to_str().unwrap();
        tools::run("cc", &["-shared", "-fPIC", "-O1", "-o", library, source]);
        clock.jump(0);
        clock
    }

    /// Makes it so many seconds fast, or slow.
    pub fn jump(&self, seconds: i64) {
        // In one step: who reads the file finds the one or the other.
        let next = self.directory.path().join("next");
        fs::write(&next, seconds.to_string()).unwrap();
        fs::rename(next, self.offset()).unwrap();
    }

    /// What a process needs in its environment.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        let word = |path: PathBuf| path.to_str().unwrap().to_owned();
        [
            ("LD_PRELOAD", word(self.library())),
            ("WALL_CLOCK", word(self.offset())),
        ]
    }

    fn library(&self) -> PathBuf {
        self.directory.path().join("wall_clock.so")
    }

    fn offset(&self) -> PathBuf {
        self.directory.path().join("offset")
    }
}
