//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// Counts the instructions of the server's hot paths, and fails when one grew by more than 5 %.
#[derive(Debug, Parser)]
#[command(name = "stanchion-instructions", version)]
pub(crate) struct Arguments {
    /// The committed figures.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "benches/instructions/figures.txt"
    )]
    pub(crate) figures: PathBuf,
    /// Writes what is counted to the file of figures, instead of failing.
    #[arg(long)]
    pub(crate) update: bool,
    /// Where callgrind's profiles stay, for callgrind_annotate.
    #[arg(
        long,
        value_name = "DIRECTORY",
        default_value = "target/bench/instructions"
    )]
    pub(crate) profiles: PathBuf,
    /// Does the work of one case, and prints how many operations it counts: what callgrind runs.
    #[arg(long, value_name = "NAME", hide = true)]
    pub(crate) case: Option<String>,
}

// === impl Arguments ===

impl Arguments {
    /// Reads the process's own; ends it if they are wrong.
    pub(crate) fn read() -> Self {
        Self::parse()
    }
}
