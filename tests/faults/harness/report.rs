//! What a scenario measured, kept for the table in the README.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// Figures of one run.
#[derive(Debug, Default)]
pub struct Figures(Vec<(String, String)>);

// === impl Figures ===

impl Figures {
    /// Adds a figure.
    pub fn add(&mut self, name: &str, value: impl ToString) {
        self.0.push((name.to_owned(), value.to_string()));
    }

    /// Adds a time, which must not be longer than three times `stated`.
    #[track_caller]
    pub fn bound(&mut self, name: &str, measured: Duration, stated: Duration) {
        self.add(name, format!("{:.2} s", measured.as_secs_f64()));
        assert!(
            measured <= 3 * stated,
            "{name}: {measured:?}, which is more than three times {stated:?}"
        );
    }

    /// Prints them, and keeps them where `make test-faults` collects them.
    pub fn save(&self, scenario: &str, stalled: Duration) {
        let mut line = format!("| {scenario} |");
        for (name, value) in &self.0 {
            write!(line, " {name} {value};").unwrap();
        }
        if line.ends_with(';') {
            line.pop();
        }
        line.push_str(" |");
        eprintln!("{line} (held up {stalled:?})");
        let name = scenario.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        fs::write(directory().join(name + ".md"), line + "\n").unwrap();
    }
}

/// Where everything is kept that outlives a run.
pub fn directory() -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/faults");
    fs::create_dir_all(&directory).unwrap();
    directory
}
