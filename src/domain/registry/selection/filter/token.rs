//! The words of a filter.

use std::fmt;

use super::FilterError;

/// One word, with where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) at: usize,
    pub(super) kind: Kind<'a>,
}

/// What a word is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    Word(&'a str),
    Quoted(String),
    /// One of `==`, `!=`, `(`, `)`, `[`, `]` and `,`.
    Sign(&'static str),
    End,
}

/// What is left of a filter.
pub(super) struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

const SIGNS: [&str; 7] = ["==", "!=", "(", ")", "[", "]", ","];

// === impl Tokens ===

impl<'a> Tokens<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The next word. After the last one it is the end, however often.
    pub(super) fn next(&mut self) -> Result<Token<'a>, FilterError> {
        let left = &self.text[self.at..];
        let rest = left.trim_start();
        let at = self.at + left.len() - rest.len();
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (kind, length) = if rest.is_empty() {
            (Kind::End, 0)
        } else if end > 0 {
            (Kind::Word(&rest[..end]), end)
        } else if let Some(quoted) = rest.strip_prefix('"') {
            let (value, length) = unquote(quoted).ok_or_else(|| {
                FilterError::new(
                    at,
                    "the quote has no end, or a `\\` before neither `\"` nor `\\`",
                )
            })?;
            (Kind::Quoted(value), 1 + length)
        } else if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            (Kind::Sign(sign), sign.len())
        } else {
            let found = rest.chars().next().unwrap_or_default();
            return Err(FilterError::new(
                at,
                format!("{found:?} has no meaning outside of quotes"),
            ));
        };
        self.at = at + length;
        Ok(Token { at, kind })
    }
}

// === impl Kind ===

impl fmt::Display for Kind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => write!(f, "`{word}`"),
            Self::Quoted(_) => f.write_str("a quoted text"),
            Self::Sign(sign) => write!(f, "`{sign}`"),
            Self::End => f.write_str("the end"),
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._:@/+-".contains(c)
}

/// The text up to the closing quote, and how long it is with that quote.
fn unquote(text: &str) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    loop {
        match characters.next()? {
            (at, '"') => return Some((value, at + 1)),
            (_, '\\') => match characters.next()? {
                (_, c @ ('"' | '\\')) => value.push(c),
                _ => return None,
            },
            (_, c) => value.push(c),
        }
    }
}
