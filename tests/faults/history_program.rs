//! Checks recorded histories: `cargo run --example check-history -- locks|configs FILE...`.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr
)]
// The tests, which record them, use the rest.
#![allow(dead_code, unused_imports)]

mod config_history;
mod lock_history;

use std::{
    fmt::{Debug, Display},
    process::ExitCode,
    str::FromStr,
};

/// Of a history that is good: what it amounts to. Of another: what is wrong.
type Verdict = Result<String, Vec<String>>;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let look: fn(&str) -> Verdict = match arguments.next().as_deref() {
        Some("locks") => |text| verdict(text, lock_history::check),
        Some("configs") => |text| verdict(text, config_history::check),
        _ => return usage(),
    };
    let files: Vec<_> = arguments.collect();
    if files.is_empty() {
        return usage();
    }
    let mut good = true;
    for file in files {
        let text = std::fs::read_to_string(&file).map_err(|error| vec![error.to_string()]);
        match text.and_then(|text| look(&text)) {
            Ok(summary) => println!("{file}: good: {summary}"),
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

fn usage() -> ExitCode {
    eprintln!("say `locks` or `configs`, and name the files that hold histories of them");
    ExitCode::from(64)
}

fn verdict<E, S, V>(text: &str, check: fn(&[E]) -> Result<S, Vec<V>>) -> Verdict
where
    E: FromStr<Err = String>,
    S: Debug,
    V: Display,
{
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let events: Result<Vec<E>, String> = lines.map(str::parse).collect();
    let events = events.map_err(|error| vec![error])?;
    match check(&events) {
        Ok(summary) => Ok(format!("{summary:?}")),
        Err(violations) => Err(violations.iter().map(ToString::to_string).collect()),
    }
}
