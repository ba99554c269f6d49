//! What a scenario measured, kept for the table in the README.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// The figures that the table shows, in its order; scenarios measure more, which is printed.
const COLUMNS: [&str; 7] = [
    "etcd could not commit for",
    "writes worked again after",
    "longest time without a write",
    "writes refused or unknown",
    "calls failed",
    "oldest answer",
    "events judged",
];

/// Figures of one run, by name.
#[derive(Debug, Default)]
pub struct Figures(BTreeMap<String, String>);

// === impl Figures ===

impl Figures {
    /// Adds a figure.
    pub fn add(&mut self, name: &str, value: impl ToString) {
        self.0.insert(name.to_owned(), value.to_string());
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

    /// Prints them, and keeps a row of the table where `make test-faults` collects them.
    pub fn save(&self, scenario: &str, stalled: Duration) {
        eprintln!(
            "{scenario} (the test was held up for {stalled:?}): {:#?}",
            self.0
        );
        let of_column = |name| self.0.get(name).map_or("", String::as_str);
        let row = format!("| {scenario} | {} |\n", COLUMNS.map(of_column).join(" | "));
        let name = scenario.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        fs::write(directory().join(name + ".md"), row).unwrap();
        let head = format!(
            "| fault | {} |\n|---{}|\n",
            COLUMNS.join(" | "),
            "|---".repeat(COLUMNS.len())
        );
        fs::write(directory().join("HEAD"), head).unwrap();
    }
}

/// Where everything is kept that outlives a run.
pub fn directory() -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/faults");
    fs::create_dir_all(&directory).unwrap();
    directory
}
