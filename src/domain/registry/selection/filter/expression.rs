//! What a filter means, in one form for all ways to say it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::super::Instance;

/// A condition. The order of the variants, here and in [`Field`], decides in which order the parts
/// of a filter are shown, and with it the digest that resume tokens carry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Expression {
    /// What is asked of one field.
    Term {
        field: Field,
        test: Test,
        negated: bool,
    },
    /// At least two, all of which hold.
    All(BTreeSet<Expression>),
    /// At least two, any of which holds.
    Any(BTreeSet<Expression>),
}

/// What can be asked about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Field {
    Health,
    State,
    Version,
    Region,
    Zone,
    Metadata(String),
}

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Test {
    /// It is there.
    Present,
    /// It is one of these, of which there is at least one.
    In(BTreeSet<String>),
}

// === impl Expression ===

impl Expression {
    pub(super) fn term(field: Field, test: Test, negated: bool) -> Self {
        Self::Term {
            field,
            test,
            negated,
        }
    }

    /// All of the parts, of which there is at least one.
    pub(super) fn all(parts: Vec<Self>) -> Self {
        Self::join(parts, false)
    }

    /// Any of the parts, of which there is at least one.
    pub(super) fn any(parts: Vec<Self>) -> Self {
        Self::join(parts, true)
    }

    /// The opposite. Negations stand at terms alone.
    pub(super) fn not(self) -> Self {
        let opposites = |parts: BTreeSet<Self>| parts.into_iter().map(Self::not).collect();
        match self {
            Self::Term {
                field,
                test,
                negated,
            } => Self::term(field, test, !negated),
            Self::All(parts) => Self::any(opposites(parts)),
            Self::Any(parts) => Self::all(opposites(parts)),
        }
    }

    fn join(parts: Vec<Self>, any: bool) -> Self {
        let flat = parts.into_iter().flat_map(|part| match part {
            Self::Any(inner) if any => inner,
            Self::All(inner) if !any => inner,
            other => [other].into(),
        });
        // One of several values may be said with `in` as with `or`; none of them likewise.
        let mut values: BTreeMap<Field, BTreeSet<String>> = BTreeMap::new();
        let mut joined = BTreeSet::new();
        for part in flat {
            match part {
                Self::Term {
                    field,
                    test: Test::In(more),
                    negated,
                } if negated != any => values.entry(field).or_default().extend(more),
                other => {
                    joined.insert(other);
                }
            }
        }
        let merged = |(field, values)| Self::term(field, Test::In(values), !any);
        joined.extend(values.into_iter().map(merged));
        match joined.pop_first() {
            Some(only) if joined.is_empty() => only,
            first => {
                joined.extend(first);
                if any {
                    Self::Any(joined)
                } else {
                    Self::All(joined)
                }
            }
        }
    }

    pub(super) fn holds(&self, instance: &Instance) -> bool {
        match self {
            Self::Term {
                field,
                test,
                negated,
            } => {
                let holds = match (field.of(instance), test) {
                    (None, _) => false,
                    (Some(_), Test::Present) => true,
                    (Some(value), Test::In(values)) => values.contains(value),
                };
                holds != *negated
            }
            Self::All(parts) => parts.iter().all(|part| part.holds(instance)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(instance)),
        }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parts, between) = match self {
            Self::Term {
                field,
                test: Test::Present,
                negated,
            } => {
                let not = if *negated { "not " } else { "" };
                return write!(f, "{not}has {field}");
            }
            Self::Term {
                field,
                test: Test::In(values),
                negated,
            } => {
                let not = if *negated { "not " } else { "" };
                write!(f, "{field} {not}in ")?;
                return listed(f, values.iter().map(|value| Quoted(value)), ", ");
            }
            Self::All(parts) => (parts, " and "),
            Self::Any(parts) => (parts, " or "),
        };
        listed(f, parts.iter(), between)
    }
}

// === impl Field ===

impl Field {
    /// What can be asked about, by its name; metadata aside.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "health" => Self::Health,
            "state" => Self::State,
            "version" => Self::Version,
            "region" => Self::Region,
            "zone" => Self::Zone,
            _ => return None,
        })
    }

    /// All values the field can have, if they are few: another one is a mistake.
    pub(super) fn values(&self) -> Option<&'static [&'static str]> {
        match self {
            Self::Health => Some(&["healthy", "unhealthy", "suspect", "unknown"]),
            Self::State => Some(&["active", "draining", "isolated"]),
            Self::Version | Self::Region | Self::Zone | Self::Metadata(_) => None,
        }
    }

    fn of<'a>(&self, instance: &'a Instance) -> Option<&'a str> {
        let spec = instance.spec();
        match self {
            Self::Health => Some(instance.health.name()),
            Self::State => Some(instance.operator.name()),
            Self::Version => Some(&spec.version),
            Self::Region => Some(&spec.region),
            Self::Zone => Some(&spec.zone),
            Self::Metadata(key) => spec.metadata.get(key).map(String::as_str),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Health => f.write_str("health"),
            Self::State => f.write_str("state"),
            Self::Version => f.write_str("version"),
            Self::Region => f.write_str("region"),
            Self::Zone => f.write_str("zone"),
            Self::Metadata(key) => write!(f, "metadata[{}]", Quoted(key)),
        }
    }
}

/// A text as a filter has it.
struct Quoted<'a>(&'a str);

// === impl Quoted ===

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escaped = self.0.replace('\\', "\\\\").replace('"', "\\\"");
        write!(f, "\"{escaped}\"")
    }
}

fn listed<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    parts: impl Iterator<Item = T>,
    between: &str,
) -> fmt::Result {
    for (index, part) in parts.enumerate() {
        let before = if index == 0 { "(" } else { between };
        write!(f, "{before}{part}")?;
    }
    f.write_str(")")
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::SystemTime};

    use super::super::Filter;
    use super::*;
    use crate::domain::{
        keyspace::InstanceKey,
        names::{InstanceId, Label, Namespace, ServiceName},
        registry::{Health, InstanceRecord, InstanceSpec, OperatorState},
    };

    /// Version 1.2, in zone `a`, healthy and draining, with `tier` and `a key` as metadata.
    fn instance() -> Instance {
        let metadata = [("tier", "gold"), ("a key", "a \"value\" \\")];
        let record = InstanceRecord {
            key: InstanceKey {
                namespace: Namespace::parse("default").unwrap(),
                service: ServiceName::parse("web").unwrap(),
                id: InstanceId::parse("1").unwrap(),
            },
            spec: InstanceSpec {
                version: "1.2".into(),
                zone: "a".into(),
                metadata: metadata.map(|(k, v)| (k.into(), v.into())).into(),
                ..InstanceSpec::default()
            },
            session: None,
            client_id: Label::default(),
            request_id: String::new(),
            register_request_id: String::new(),
            actor: Label::default(),
            register_time: SystemTime::UNIX_EPOCH,
            format: 1,
            create_revision: 1,
            mod_revision: 1,
        };
        Instance {
            record: Arc::new(record),
            overlaid: None,
            operator: OperatorState::Draining,
            health: Health::Healthy,
            serving: false,
            slow_start: None,
            visible_revision: 1,
        }
    }

    #[track_caller]
    fn holds(text: &str) -> bool {
        Filter::parse(text).unwrap().takes(&instance())
    }

    #[test]
    fn every_field_is_compared_as_it_is_seen() {
        for taken in [
            "health == healthy",
            "health != suspect",
            "state in (active, draining)",
            "version == 1.2",
            "version == \"1.2\"",
            "zone == a",
            "region == \"\"",
            "metadata.tier == gold",
            "metadata[\"a key\"] == \"a \\\"value\\\" \\\\\"",
            "has metadata.tier",
            "zone not in (b, c)",
        ] {
            assert!(holds(taken), "{taken}");
            assert!(!holds(&format!("not ({taken})")), "{taken}");
        }
        assert!(!holds("version == 1"));
    }

    #[test]
    fn a_key_that_is_not_there_equals_nothing() {
        assert!(!holds("has metadata.absent"));
        assert!(!holds("metadata.absent == \"\""));
        assert!(!holds("metadata.absent in (a, \"\")"));
        assert!(holds("metadata.absent != a"));
        assert!(holds("metadata.absent not in (a, \"\")"));
        assert!(holds("not has metadata.absent"));
    }

    #[test]
    fn and_binds_closer_than_or_and_not_closer_than_both() {
        assert!(holds("zone == a or zone == b and version == 2"));
        assert!(!holds("(zone == a or zone == b) and version == 2"));
        assert!(holds("not zone == b and zone == a"));
        assert!(!holds("not (zone == b or zone == a)"));
    }

    #[test]
    fn what_means_the_same_is_one_filter() {
        for (one, other) in [
            ("zone == a", " zone==\"a\" "),
            ("zone == a or zone == b", "zone in (b, a, b)"),
            ("zone != a and zone != b", "not (zone == b or zone == a)"),
            ("zone != a", "zone not in (a)"),
            ("not not has metadata.x", "has metadata[\"x\"]"),
            ("zone == a and version == 1", "version == 1 and (zone == a)"),
            (
                "zone == a and (version == 1 and region == r)",
                "(zone == a and version == 1) and region == r",
            ),
            (
                "not (zone == a and version == 1)",
                "zone != a or version != 1",
            ),
            ("has metadata.x or has metadata.x", "has metadata.x"),
            (
                "zone == a or (version == 1 or zone == b)",
                "zone in (a, b) or version == 1",
            ),
        ] {
            let (one, other) = (Filter::parse(one).unwrap(), Filter::parse(other).unwrap());
            assert_eq!(one, other);
            assert_eq!(one.to_string(), other.to_string());
        }
        let apart = [
            "zone == a",
            "zone != a",
            "zone == b",
            "has metadata.zone",
            "metadata.zone == a",
        ];
        let shown: BTreeSet<_> = apart
            .map(|text| Filter::parse(text).unwrap().to_string())
            .into();
        assert_eq!(shown.len(), apart.len());
    }

    #[test]
    fn the_canonical_form_is_the_filter_itself() {
        for text in [
            "metadata[\"a \\\" \\\\ b\"] == \"é\\\\\" or not has metadata.x and zone in (a, b)",
            "not (health == healthy and (zone == a or version != 1))",
            "state == active",
        ] {
            let filter = Filter::parse(text).unwrap();
            let again = Filter::parse(&filter.to_string()).unwrap();
            assert_eq!(filter, again, "{filter}");
            assert_eq!(filter.to_string(), again.to_string());
        }
    }
}
