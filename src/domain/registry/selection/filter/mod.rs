//! Filters: a small language that says which instances a list or a watch shows.
//!
//! ```text
//! filter     = and { "or" and }
//! and        = not { "and" not }
//! not        = "not" not | "(" filter ")" | comparison
//! comparison = field "==" value
//!            | field "!=" value
//!            | field ["not"] "in" "(" value { "," value } ")"
//!            | "has" metadata
//! field      = "health" | "state" | "version" | "region" | "zone" | metadata
//! metadata   = "metadata." word | "metadata" "[" quoted "]"
//! value      = word | quoted
//! word       = one or more of A-Z a-z 0-9 . _ : @ / + -
//! quoted     = `"`, any characters with \" for `"` and \\ for `\`, `"`
//! ```
//!
//! `health` is `healthy`, `unhealthy`, `suspect` or `unknown`; `state` is `active`, `draining` or
//! `isolated`. `and`, `or`, `not`, `in` and `has` are values only in quotes. A key that an instance
//! does not have equals nothing: `==` and `in` are false for it, `!=` and `not in` true.

mod expression;
mod parser;
mod token;

use std::fmt;

use crate::domain::registry::Instance;

use self::expression::Expression;

/// The longest filter, in bytes.
const MAX_BYTES: usize = 4096;
/// The most parentheses and `not`s in each other.
const MAX_DEPTH: usize = 32;
/// The most comparisons.
const MAX_TERMS: usize = 64;

/// What an instance must look like. Shown in its canonical form, in which most filters that mean
/// the same are the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(Expression);

/// Why a text is not a filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at byte {at}: {problem}")]
pub struct FilterError {
    /// Where, in bytes from the beginning.
    pub at: usize,
    /// What is wrong there.
    pub problem: String,
}

// === impl Filter ===

impl Filter {
    /// Parses a filter: at most 4 KiB, 64 comparisons and 32 parentheses in each other.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        parser::parse(text).map(Self)
    }

    /// Says whether it takes an instance that looks like this.
    pub fn takes(&self, instance: &Instance) -> bool {
        self.0.holds(instance)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// === impl FilterError ===

impl FilterError {
    fn new(at: usize, problem: impl Into<String>) -> Self {
        Self {
            at,
            problem: problem.into(),
        }
    }
}
