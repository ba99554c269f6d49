//! What keys begin with.

use std::{fmt, sync::Arc};

use crate::domain::names::{ConfigKey, MAX_CONFIG_KEY, NameError};

/// The beginning of config keys, whole segments or not; may be empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigPrefix(Arc<str>);

// === impl ConfigPrefix ===

impl ConfigPrefix {
    /// Parses the text. What no key can begin with is refused, because it is a mistake.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        // One more character makes a key of every beginning, be it `a/`, `a/.` or nothing.
        if text.len() == MAX_CONFIG_KEY {
            ConfigKey::parse(text)?;
        } else {
            ConfigKey::parse(&format!("{text}-"))?;
        }
        Ok(Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ConfigPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_whatever_a_key_can_begin_with() {
        for good in [
            "",
            "a",
            "a/",
            "a/b",
            "a/.",
            "..",
            &"k".repeat(MAX_CONFIG_KEY),
        ] {
            ConfigPrefix::parse(good).unwrap();
        }
        for bad in [
            "/",
            "a//",
            "a/../",
            "a b",
            "é",
            &"k".repeat(MAX_CONFIG_KEY + 1),
        ] {
            assert!(ConfigPrefix::parse(bad).is_err(), "{bad}");
        }
    }
}
