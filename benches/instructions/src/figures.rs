//! Instruction counts by case: a file of lines `name count`, and what may not differ.

use std::{fs, io, path::Path, process::Command};

use crate::error::CountError;

/// By how many percent a count may grow.
pub(crate) const TOLERANCE: u64 = 5;

/// What a line about the tools begins with.
const TOOLS: &str = "# Counted with ";

/// Instructions of one operation of each case.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// What they were counted with.
    tools: String,
    counts: Vec<(String, u64)>,
}

// === impl Figures ===

impl Figures {
    /// None yet; they are counted with this version of valgrind and the compiler at hand.
    pub(crate) fn new(valgrind: String) -> Self {
        Self {
            tools: format!("{}, {valgrind}", compiler()),
            counts: Vec::new(),
        }
    }

    /// Adds the count of a case.
    pub(crate) fn add(&mut self, case: &str, count: u64) {
        self.counts.push((case.to_owned(), count));
    }

    /// All of them, in the order of the cases.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.counts
            .iter()
            .map(|(case, count)| (case.as_str(), *count))
    }

    /// The count of a case.
    pub(crate) fn get(&self, case: &str) -> Option<u64> {
        self.iter()
            .find_map(|(known, count)| (known == case).then_some(count))
    }

    /// Reads them from a file; `None` if there is none.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, CountError> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text)
                .map(Some)
                .map_err(|line| CountError::Malformed {
                    path: path.to_owned(),
                    line,
                }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => {
                let what = format!("cannot read {}", path.display());
                Err(CountError::io(what, source))
            }
        }
    }

    /// Writes them to a file.
    pub(crate) fn write(&self, path: &Path) -> Result<(), CountError> {
        fs::write(path, self.format())
            .map_err(|source| CountError::io(format!("cannot write {}", path.display()), source))
    }

    /// What is wrong with these, given the committed ones; nothing if no count grew too much.
    pub(crate) fn complaints(&self, committed: &Self) -> Vec<String> {
        let mut complaints: Vec<_> = self
            .iter()
            .filter_map(|(case, count)| match committed.get(case) {
                None => Some(format!("{case} has no committed figure")),
                Some(was) if count * 100 > was * (100 + TOLERANCE) => Some(format!(
                    "{case} grew by more than {TOLERANCE} %: from {was} to {count} instructions"
                )),
                Some(_) => None,
            })
            .collect();
        let gone = committed
            .iter()
            .filter(|(case, _)| self.get(case).is_none());
        complaints.extend(gone.map(|(case, _)| format!("{case} is committed but not counted")));
        if !complaints.is_empty() && self.tools != committed.tools {
            complaints.push(format!(
                "the committed figures are of other tools: {} then, {} now",
                committed.tools, self.tools
            ));
        }
        complaints
    }

    /// Fails with the number of the line that says nothing.
    fn parse(text: &str) -> Result<Self, usize> {
        let mut figures = Self::default();
        for (index, line) in text.lines().enumerate() {
            if let Some(tools) = line.strip_prefix(TOOLS) {
                figures.tools = tools.to_owned();
            } else if !line.is_empty() && !line.starts_with('#') {
                let figure = line.split_once(' ');
                let (case, count) = figure.ok_or(index + 1)?;
                figures.add(case, count.trim().parse().map_err(|_| index + 1)?);
            }
        }
        Ok(figures)
    }

    fn format(&self) -> String {
        let mut text = format!(
            "# Instructions of one operation; `make bench-instructions` fails when one grows by \
             more than {TOLERANCE} %.\n{TOOLS}{}\n",
            self.tools
        );
        for (case, count) in self.iter() {
            text.push_str(&format!("{case} {count}\n"));
        }
        text
    }
}

/// The version of the compiler that cargo uses here.
fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output();
    output.map_or_else(
        |_| "an unknown rustc".into(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(tools: &str, counts: &[(&str, u64)]) -> Figures {
        let mut figures = Figures {
            tools: tools.into(),
            ..Figures::default()
        };
        for (case, count) in counts {
            figures.add(case, *count);
        }
        figures
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let figures = figures("rustc 1, valgrind 3", &[("b", 2), ("a-c", 100)]);
        assert_eq!(Figures::parse(&figures.format()), Ok(figures));
        assert_eq!(Figures::parse("# x\n\na 1\nb\n"), Err(4));
        assert_eq!(Figures::parse("a x\n"), Err(1));
    }

    #[test]
    fn a_count_may_grow_by_five_percent_and_no_more() {
        let committed = figures("t", &[("a", 100), ("b", 100), ("gone", 1)]);
        let counted = figures("t", &[("a", 105), ("b", 106), ("new", 1)]);
        let complaints = counted.complaints(&committed);
        assert_eq!(complaints.len(), 3, "{complaints:?}");
        for (complaint, case) in complaints.iter().zip(["b ", "new ", "gone "]) {
            assert!(complaint.starts_with(case), "{complaint}");
        }
        assert!(committed.complaints(&committed).is_empty());
    }

    #[test]
    fn other_tools_are_named_when_something_grew_and_only_then() {
        let committed = figures("old", &[("a", 100)]);
        assert!(
            figures("new", &[("a", 90)])
                .complaints(&committed)
                .is_empty()
        );
        let complaints = figures("new", &[("a", 200)]).complaints(&committed);
        assert!(complaints[1].contains("old then, new now"));
    }
}
