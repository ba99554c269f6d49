//! Whether a body may be written.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    cache::Freshness,
    domain::{
        config::{
            Body, Configs,
            content::{Content, cut},
        },
        error::Error,
        keyspace::ConfigPath,
        names::Namespace,
        state::{State, View},
    },
    store::{Compare, Revision},
};

use super::covering;

/// How many violations are told.
const TOLD: usize = 20;
/// How many bytes they have in all: a status travels in headers.
const BYTES: usize = 4096;

/// What breaks a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What the schema covers.
    pub selector: String,
    /// Where in the content, as a JSON pointer.
    pub place: String,
    /// What is wrong there.
    pub message: String,
}

// === impl Configs ===

impl Configs {
    /// Whether bodies may be written, each at its path: what the transaction that writes them has to
    /// compare. Decided on a state of at least the revision `seen`; the cache may be a moment
    /// behind, so that a refusal is said of what the store has.
    ///
    /// Errors: [`Error::Malformed`] and [`Error::SchemaViolated`], with the number of the body.
    pub(in crate::domain::config) async fn approve(
        &self,
        bodies: &[(usize, &ConfigPath, &Body)],
        seen: Option<Revision>,
    ) -> Result<Vec<Compare>, (usize, Error)> {
        let Some((first, ..)) = bodies.first() else {
            return Ok(Vec::new());
        };
        let contents = bodies.iter().map(|(at, path, body)| {
            let content = Content::read(body.content_type, &body.content);
            Ok((*at, *path, content.map_err(|error| (*at, error))?))
        });
        let contents = contents.collect::<Result<Vec<_>, _>>()?;
        let all = |state: &State| {
            contents.iter().try_for_each(|(at, path, content)| {
                check(state, path, content).map_err(|error| (*at, error))
            })
        };
        let read = async |freshness| {
            let view = self.core.cache.read(freshness).await;
            view.map_err(|error| (*first, Error::from(error)))
        };
        let mut view = read(seen.map_or(Freshness::Cached, Freshness::AtLeast)).await?;
        if all(&view.state).is_err() {
            view = read(Freshness::Linearizable).await?;
            all(&view.state)?;
        }
        let namespaces: BTreeSet<_> = bodies.iter().map(|(_, path, _)| &path.namespace).collect();
        let compares = namespaces.into_iter();
        Ok(compares
            .map(|namespace| self.no_schema_since(&view, namespace))
            .collect())
    }

    /// The condition that no schema was put in a namespace since `view`.
    fn no_schema_since(&self, view: &View, namespace: &Namespace) -> Compare {
        let key = self.core.keys.schema_change(namespace);
        Compare::mod_revision(key, view.state.schemas.last_put(namespace))
    }
}

fn check(state: &State, path: &ConfigPath, content: &Content<'_>) -> Result<(), Error> {
    let mut violations = Vec::new();
    let (mut count, mut bytes) = (0, 0);
    for schema in covering(state, path) {
        let selector = schema.path.selector.to_string();
        let mut add = |place: &str, message: &str| {
            let (place, message) = (cut(place), cut(message));
            bytes += place.len() + message.len() + selector.len();
            if violations.len() < TOLD && bytes <= BYTES {
                violations.push(Violation {
                    selector: selector.clone(),
                    place: place.to_owned(),
                    message: message.to_owned(),
                });
            }
        };
        let Content::Structured(documents) = content else {
            count += 1;
            add(
                "",
                "the content must be JSON, YAML or TOML, because a schema covers its key",
            );
            continue;
        };
        let validator = schema.validator().map_err(|error| {
            let path = schema.path.path();
            Error::Internal(format!("the schema {path} cannot be read: {error}"))
        })?;
        // A stream without documents says as much as one with nothing in it.
        let nothing = [Value::Null];
        let documents = if documents.is_empty() {
            &nothing
        } else {
            documents.as_slice()
        };
        for document in documents {
            if !validator.bears(document) {
                count += 1;
                add(
                    "",
                    "the content is too large to be checked with so large a schema",
                );
                continue;
            }
            if validator.takes(document) {
                continue;
            }
            let (told, found) = validator.violations(document, TOLD);
            count += found;
            for (place, message) in &told {
                add(place, message);
            }
        }
    }
    if count == 0 {
        return Ok(());
    }
    Err(Error::SchemaViolated {
        key: path.key.to_string(),
        field: "content".into(),
        violations,
        count,
    })
}

// === impl Violation ===

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = match self.place.as_str() {
            "" => "/",
            place => place,
        };
        write!(f, "{place}: {} (schema {})", self.message, self.selector)
    }
}

/// Violations in words: the first one, and how many more there are.
pub(in crate::domain) fn told(violations: &[Violation], count: usize) -> String {
    let first = violations.first().map(ToString::to_string);
    let more = match count {
        0 | 1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    first.unwrap_or_default() + &more
}
