//! Printing: aligned tables for people, JSON with stable names for programs.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, SystemTime},
};

use serde_json::Value;

use super::failure::Failure;

/// Rows under a heading.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    heading: [&'static str; N],
    rows: Vec<[String; N]>,
}

// === impl Table ===

impl<const N: usize> Table<N> {
    pub(crate) fn new(heading: [&'static str; N]) -> Self {
        Self {
            heading,
            rows: Vec::new(),
        }
    }

    /// Adds a row. Empty cells are shown as `-`.
    pub(crate) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| match cell.is_empty() {
            true => "-".into(),
            false => cell.replace(char::is_control, " "),
        }));
    }

    fn lines(&self) -> Vec<String> {
        let heading = self.heading.map(str::to_owned);
        let all = || std::iter::once(&heading).chain(&self.rows);
        let widths: [usize; N] = std::array::from_fn(|column| {
            all()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or_default()
        });
        all()
            .map(|row| {
                let cells = row.iter().zip(widths);
                let line = cells.fold(String::new(), |line, (cell, width)| {
                    format!("{line}{cell:width$}  ")
                });
                line.trim_end().to_owned()
            })
            .collect()
    }

    /// Prints the table, or `nothing` if it has no rows.
    pub(crate) fn print(&self, nothing: &str) -> Result<(), Failure> {
        if self.rows.is_empty() {
            // For people only: what reads standard output sees nothing, which is right.
            return note(nothing);
        }
        line(&self.lines().join("\n"))
    }
}

/// Prints a line on standard output, at once.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    raw(format!("{text}\n").as_bytes())
}

/// Prints bytes on standard output.
pub(crate) fn raw(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    Ok(out.flush()?)
}

/// Prints a content as it is, with a line end added only at a terminal.
pub(crate) fn content(bytes: &[u8]) -> Result<(), Failure> {
    raw(bytes)?;
    if io::stdout().is_terminal() && !bytes.ends_with(b"\n") {
        line("")?;
    }
    Ok(())
}

/// Tells people something beside the output.
pub(crate) fn note(text: &str) -> Result<(), Failure> {
    // A closed standard error stops nothing.
    let _ = writeln!(io::stderr().lock(), "{text}");
    Ok(())
}

/// Prints JSON for reading: indented.
pub(crate) fn json(value: &Value) -> Result<(), Failure> {
    line(&format!("{value:#}"))
}

/// Prints JSON on one line, as one of many.
pub(crate) fn json_line(value: &Value) -> Result<(), Failure> {
    line(&value.to_string())
}

/// An instant as RFC 3339 with seconds, in UTC. Empty if unset.
pub(crate) fn time(timestamp: Option<prost_types::Timestamp>) -> String {
    timestamp
        .and_then(|timestamp| SystemTime::try_from(timestamp).ok())
        .map(|time| humantime::format_rfc3339_seconds(time).to_string())
        .unwrap_or_default()
}

/// How long ago an instant was, short: `3m`. Empty if unset.
pub(crate) fn ago(timestamp: Option<prost_types::Timestamp>) -> String {
    timestamp
        .and_then(|timestamp| SystemTime::try_from(timestamp).ok())
        .map(|time| short(time.elapsed().unwrap_or_default()))
        .unwrap_or_default()
}

/// A duration in its largest unit.
pub(crate) fn short(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{}ms", duration.as_millis()),
        seconds @ 1..120 => format!("{seconds}s"),
        seconds @ 120..7200 => format!("{}m", seconds / 60),
        seconds @ 7200..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// A duration out of an answer, in seconds.
pub(crate) fn seconds(duration: Option<prost_types::Duration>) -> Option<f64> {
    duration.map(|duration| duration.seconds as f64 + f64::from(duration.nanos) / 1e9)
}

/// An enum value without its prefix, in lower case: `HEALTH_SUSPECT` is `suspect`.
pub(crate) fn lower(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_have_no_trailing_space() {
        let mut table = Table::new(["ID", "ADDRESS"]);
        table.row(["a".into(), "10.0.0.1".into()]);
        table.row(["longer".into(), String::new()]);
        assert_eq!(
            table.lines(),
            ["ID      ADDRESS", "a       10.0.0.1", "longer  -"]
        );
    }

    #[test]
    fn durations_are_told_in_their_largest_unit() {
        assert_eq!(short(Duration::from_millis(20)), "20ms");
        assert_eq!(short(Duration::from_secs(119)), "119s");
        assert_eq!(short(Duration::from_secs(180)), "3m");
        assert_eq!(short(Duration::from_secs(3 * 86_400)), "3d");
    }
}
