//! Colours, at a terminal alone.

use std::{
    borrow::Cow,
    env,
    io::{self, IsTerminal},
};

/// Whether to use colours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Colours(bool);

// === impl Colours ===

impl Colours {
    /// Colours if standard output is a terminal, and `NO_COLOR` is not set (see no-color.org).
    pub(crate) fn of_output() -> Self {
        let unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self(!unwanted && io::stdout().is_terminal())
    }

    /// A line that says by how it begins what was added, removed or changed.
    pub(crate) fn change<'a>(self, line: &'a str) -> Cow<'a, str> {
        let colour = match line.as_bytes() {
            [b'@', b'@', ..] => "36",
            [b'+', ..] => "32",
            [b'-', ..] => "31",
            [b'~', ..] => "33",
            _ => return line.into(),
        };
        self.paint(colour, line)
    }

    /// The names of both sides.
    pub(crate) fn heading<'a>(self, line: &'a str) -> Cow<'a, str> {
        self.paint("1", line)
    }

    /// What is beside the point.
    pub(crate) fn faint<'a>(self, text: &'a str) -> Cow<'a, str> {
        self.paint("2", text)
    }

    fn paint<'a>(self, colour: &str, text: &'a str) -> Cow<'a, str> {
        match self.0 {
            true => format!("\x1b[{colour}m{text}\x1b[0m").into(),
            false => text.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_have_colours_at_a_terminal_alone() {
        let (terminal, file) = (Colours(true), Colours(false));
        assert_eq!(terminal.change("+a"), "\x1b[32m+a\x1b[0m");
        assert_eq!(terminal.change("-a"), "\x1b[31m-a\x1b[0m");
        assert_eq!(terminal.change(" a"), " a");
        assert_eq!(file.change("+a"), "+a");
        assert_eq!(file.heading("+++ a"), "+++ a");
    }
}
