//! Names as they come from outside, parsed once into types that cannot be invalid.

use std::{borrow::Borrow, fmt, sync::Arc};

/// The longest name, in bytes.
pub const MAX_NAME: usize = 253;
/// The longest config key, in bytes.
pub const MAX_CONFIG_KEY: usize = 512;
/// The longest free text that names something (client ids, owners, actors, request ids), in bytes.
pub const MAX_LABEL: usize = 253;

/// The namespace of requests that name none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is nothing.
    #[error("must not be empty")]
    Empty,
    /// There is too much.
    #[error("must be at most {limit} bytes, is {length}")]
    TooLong {
        /// The most bytes allowed.
        limit: usize,
        /// The bytes given.
        length: usize,
    },
    /// A character that has no place in it.
    #[error("must consist of {allowed}, has {found:?}")]
    Character {
        /// The characters allowed, in words.
        allowed: &'static str,
        /// The first other one.
        found: char,
    },
    /// `.` or `..`, which mean something else in paths.
    #[error("must not be `.` or `..`")]
    Dots,
    /// A config key with an empty segment.
    #[error("must not begin or end with `/` or contain `//`")]
    EmptySegment,
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident: $parse:path;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses the text.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                $parse(text)?;
                Ok(Self(text.into()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    )*};
}

names! {
    /// A namespace: 1–253 bytes of `[A-Za-z0-9._:@-]`.
    Namespace: check_name;
    /// The name of a service: 1–253 bytes of `[A-Za-z0-9._:@-]`.
    ServiceName: check_name;
    /// The id of an instance within its service: 1–253 bytes of `[A-Za-z0-9._:@-]`.
    InstanceId: check_name;
    /// The name of a lock or of an election: 1–253 bytes of `[A-Za-z0-9._:@-]`.
    QueueName: check_name;
    /// The name of a barrier: 1–253 bytes of `[A-Za-z0-9._:@-]`.
    BarrierName: check_name;
    /// The name of a latch: 1–253 bytes of `[A-Za-z0-9._:@-]`.
    LatchName: check_name;
    /// The name of a party that counts a latch down: 1–253 bytes of `[A-Za-z0-9._:@-]`.
    PartyName: check_name;
    /// The id of a replica: 1–253 bytes of `[A-Za-z0-9._:@-]`.
    ReplicaId: check_name;
    /// The key of a config item: at most 512 bytes, segments of `[A-Za-z0-9._:@-]` separated by
    /// `/`.
    ConfigKey: check_config_key;
    /// The name of a release: 1–253 bytes of `[A-Za-z0-9._:@-]`.
    ReleaseName: check_name;
    /// Free text that names something: at most 253 bytes without control characters; may be empty.
    Label: check_label;
}

// === impl Namespace ===

impl Namespace {
    /// Parses the text; nothing means [`DEFAULT_NAMESPACE`].
    pub fn parse_or_default(text: &str) -> Result<Self, NameError> {
        Self::parse(if text.is_empty() {
            DEFAULT_NAMESPACE
        } else {
            text
        })
    }
}

// === impl Label ===

impl Label {
    /// Parses a text that is a name (1–253 bytes of `[A-Za-z0-9._:@-]`) or nothing.
    pub fn parse_name(text: &str) -> Result<Self, NameError> {
        if !text.is_empty() {
            check_name(text)?;
        }
        Ok(Self(text.into()))
    }

    /// Says whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Default for Label {
    fn default() -> Self {
        Self("".into())
    }
}

fn check_name(text: &str) -> Result<(), NameError> {
    check_length(text, MAX_NAME)?;
    check_characters(text)?;
    if text == "." || text == ".." {
        return Err(NameError::Dots);
    }
    Ok(())
}

fn check_config_key(text: &str) -> Result<(), NameError> {
    check_length(text, MAX_CONFIG_KEY)?;
    text.split('/').try_for_each(|segment| match segment {
        "" => Err(NameError::EmptySegment),
        "." | ".." => Err(NameError::Dots),
        _ => check_characters(segment),
    })
}

fn check_label(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Ok(());
    }
    check_length(text, MAX_LABEL)?;
    match text.chars().find(|c| c.is_control()) {
        Some(found) => Err(NameError::Character {
            allowed: "anything but control characters",
            found,
        }),
        None => Ok(()),
    }
}

fn check_length(text: &str, limit: usize) -> Result<(), NameError> {
    match text.len() {
        0 => Err(NameError::Empty),
        length if length > limit => Err(NameError::TooLong { limit, length }),
        _ => Ok(()),
    }
}

fn check_characters(text: &str) -> Result<(), NameError> {
    let allowed = |c: &char| c.is_ascii_alphanumeric() || "._:@-".contains(*c);
    match text.chars().find(|c| !allowed(c)) {
        Some(found) => Err(NameError::Character {
            allowed: "letters, digits and `._:@-`",
            found,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_take_what_addresses_and_versions_need_and_nothing_else() {
        for good in [
            "web",
            "web-1.2_3",
            "10.0.0.1:80",
            "user@host",
            &"a".repeat(253),
        ] {
            ServiceName::parse(good).unwrap();
        }
        for bad in ["", ".", "..", "a/b", "a b", "é", &"a".repeat(254)] {
            assert!(ServiceName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn config_keys_have_no_empty_segment() {
        ConfigKey::parse("db/primary/host").unwrap();
        for bad in ["", "/a", "a/", "a//b", "a/../b", "a/b c"] {
            assert!(ConfigKey::parse(bad).is_err(), "{bad}");
        }
    }
}
