//! Checks recorded histories of locks: `cargo run --example check-locks -- FILE...`.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::print_stdout,
    clippy::print_stderr
)]

mod check;
mod history;

use std::process::ExitCode;

fn main() -> ExitCode {
    let files: Vec<_> = std::env::args().skip(1).collect();
    if files.is_empty() {
        eprintln!("name the files that hold histories; see tests/faults/lock_history");
        return ExitCode::from(64);
    }
    let mut good = true;
    for file in files {
        match look(&file) {
            Ok(summary) => println!("{file}: good: {summary:?}"),
            Err(faults) => {
                good = false;
                for fault in faults {
                    println!("{file}: {fault}");
                }
            }
        }
    }
    ExitCode::from(u8::from(!good))
}

fn look(file: &str) -> Result<check::Summary, Vec<String>> {
    let text = std::fs::read_to_string(file).map_err(|error| vec![error.to_string()])?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let events: Result<Vec<history::Event>, String> = lines.map(str::parse).collect();
    let events = events.map_err(|error| vec![error])?;
    check::check(&events).map_err(|violations| {
        let said = violations.into_iter();
        said.map(|v| format!("{:?} of {}: {}", v.kind, v.lock, v.says))
            .collect()
    })
}
