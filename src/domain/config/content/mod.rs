//! Contents: whether one is what its type says, and what it says.

mod properties;
mod structured;

use serde_json::Value;

use crate::domain::Error;

use super::ContentType;

/// How many bytes of a content, or of words that may have it in them, are told.
const WORDS: usize = 400;

/// What a content says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content<'a> {
    /// Values as JSON has them: one, or those of a YAML stream.
    Structured(Vec<Value>),
    /// Text.
    Text(&'a str),
    /// Bytes.
    Binary,
}

/// Where and why a content is not what its type says.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    /// From 1; `0`: nowhere in particular.
    line: usize,
    /// In characters, from 1; `0`: nowhere in particular.
    column: usize,
    reason: String,
}

// === impl Content ===

impl<'a> Content<'a> {
    /// Reads a content. Takes no more than a time in proportion to its length.
    ///
    /// Errors: [`Error::Malformed`].
    pub(super) fn read(content_type: ContentType, bytes: &'a [u8]) -> Result<Self, Error> {
        if content_type == ContentType::Binary {
            return Ok(Self::Binary);
        }
        let read = text(bytes).and_then(|text| match content_type {
            ContentType::Json => structured::json(text).map(Self::Structured),
            ContentType::Yaml => structured::yaml(text).map(Self::Structured),
            ContentType::Toml => structured::toml(text).map(Self::Structured),
            ContentType::Properties => properties::check(text).map(|()| Self::Text(text)),
            ContentType::Text | ContentType::Xml | ContentType::Binary => Ok(Self::Text(text)),
        });
        read.map_err(|fault| Error::Malformed {
            key: String::new(),
            field: "content".into(),
            line: fault.line,
            column: fault.column,
            reason: format!("is not {}: {}", name(content_type), cut(&fault.reason)),
        })
    }
}

// === impl Fault ===

impl Fault {
    /// A fault at a place in a text, given in bytes.
    fn at(text: &str, offset: usize, reason: impl Into<String>) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        Self {
            line: before.matches('\n').count() + 1,
            column: line.chars().count() + 1,
            reason: reason.into(),
        }
    }
}

/// The beginning of words that may have a whole content in them.
pub(super) fn cut(words: &str) -> &str {
    &words[..words.floor_char_boundary(WORDS)]
}

/// A place in a content in words, if there is one.
pub(in crate::domain) fn place(line: usize, column: usize) -> String {
    match line {
        0 => String::new(),
        line => format!(" (line {line}, column {column})"),
    }
}

fn text(bytes: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(bytes).map_err(|error| {
        let (good, _) = bytes.split_at(error.valid_up_to());
        let good = String::from_utf8_lossy(good);
        Fault::at(&good, good.len(), "this byte is not UTF-8")
    })
}

fn name(content_type: ContentType) -> &'static str {
    match content_type {
        ContentType::Text => "text",
        ContentType::Json => "JSON",
        ContentType::Yaml => "YAML",
        ContentType::Toml => "TOML",
        ContentType::Properties => "a properties file",
        ContentType::Xml => "XML",
        ContentType::Binary => "binary",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(content_type: ContentType, bytes: &[u8]) -> (usize, usize) {
        match Content::read(content_type, bytes) {
            Err(Error::Malformed { line, column, .. }) => (line, column),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn whatever_is_not_binary_is_utf_8() {
        assert_eq!(
            Content::read(ContentType::Binary, b"\xff").unwrap(),
            Content::Binary
        );
        for content_type in [ContentType::Text, ContentType::Xml, ContentType::Json] {
            assert_eq!(
                found(content_type, "a\né\u{0}".as_bytes()[..3].as_ref()),
                (2, 1)
            );
        }
        assert_eq!(found(ContentType::Text, b"a\n\xc3\xa9\xff"), (2, 2));
    }

    #[test]
    fn a_fault_has_its_place() {
        assert_eq!(found(ContentType::Json, b"{\n  \"a\": 1,\n}"), (3, 1));
        assert_eq!(found(ContentType::Toml, b"a = 1\nb = = 2\n"), (2, 5));
        assert_eq!(found(ContentType::Yaml, b"a: 1\nb: [1, 2\n"), (2, 4));
        assert_eq!(found(ContentType::Properties, b"a=1\nb=\\u00zz"), (2, 3));
        // Columns count characters.
        assert_eq!(found(ContentType::Toml, "é = = 2\n".as_bytes()), (1, 5));
    }
}
