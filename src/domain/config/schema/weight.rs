//! What a schema costs.
//!
//! A few parts that each refer twice to the next one are gone through more often than ever comes to
//! an end, so what counts is every way that leads to a part.

use std::collections::HashMap;

use serde_json::Value;

/// How deep parts may be in each other, references included: checking goes as deep.
const DEPTH: usize = 500;
/// Keywords under which there are names, with a schema each.
const NAMED: [&str; 6] = [
    "properties",
    "patternProperties",
    "dependentSchemas",
    "dependencies",
    "$defs",
    "definitions",
];
/// Whose names are those of different values.
const PROPERTIES: &str = NAMED[0];
/// Whose schemas are only referred to.
const DEFINITIONS: [&str; 2] = [NAMED[4], NAMED[5]];
/// Keywords that refer to another part.
const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];
/// Where the schemas of schemas are, which can be referred to without being in one.
const META: &str = "json-schema.org";

/// What checking one value costs, but for what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Weight {
    /// How many parts are gone through, each as often as a way leads to it.
    pub(super) parts: u64,
    /// How many ways lead back to a part that they came through, with the same value.
    pub(super) returns: u64,
}

// === impl Weight ===

impl Weight {
    const ONE: Self = Self::new(1, 0);
    const RETURN: Self = Self::new(1, 1);
    const META: Self = Self::new(1000, 2);
    const ENDLESS: Self = Self::new(u64::MAX, u64::MAX);

    const fn new(parts: u64, returns: u64) -> Self {
        Self { parts, returns }
    }

    fn and(self, other: Self) -> Self {
        Self {
            parts: self.parts.saturating_add(other.parts),
            returns: self.returns.saturating_add(other.returns),
        }
    }

    fn or(self, other: Self) -> Self {
        Self {
            parts: self.parts.max(other.parts),
            returns: self.returns.max(other.returns),
        }
    }

    /// The weight of a schema.
    pub(super) fn of(schema: &Value) -> Self {
        let mut scale = Scale {
            starts: vec![schema],
            anchors: HashMap::new(),
            weighed: HashMap::new(),
        };
        scale.collect(schema);
        scale.weigh(schema, Kind::Schema, 0)
    }
}

/// As what a part is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Schema,
    /// Names with a schema each, for different values.
    Properties,
    /// Names with a schema each.
    Named,
}

struct Scale<'a> {
    /// Where references may start: at the whole, and at what has an identifier. Which of them one
    /// means is not told apart: it is taken for the heaviest.
    starts: Vec<&'a Value>,
    anchors: HashMap<&'a str, Vec<&'a Value>>,
    /// By address; `None`: that is not done yet.
    weighed: HashMap<(*const Value, Kind), Option<Weight>>,
}

// === impl Scale ===

impl<'a> Scale<'a> {
    fn collect(&mut self, part: &'a Value) {
        match part {
            Value::Array(parts) => parts.iter().for_each(|part| self.collect(part)),
            Value::Object(named) => {
                for (name, inner) in named {
                    match (name.as_str(), inner) {
                        ("$id" | "id", Value::String(id)) => {
                            self.starts.push(part);
                            if let Some((_, anchor)) = id.split_once('#') {
                                self.anchors.entry(anchor).or_default().push(part);
                            }
                        }
                        ("$anchor" | "$dynamicAnchor", Value::String(anchor)) => {
                            self.anchors.entry(anchor).or_default().push(part);
                        }
                        _ => self.collect(inner),
                    }
                }
            }
            _ => {}
        }
    }

    fn weigh(&mut self, part: &'a Value, kind: Kind, depth: usize) -> Weight {
        if depth > DEPTH {
            return Weight::ENDLESS;
        }
        let key = (std::ptr::from_ref(part), kind);
        match self.weighed.get(&key) {
            Some(Some(known)) => return *known,
            Some(None) => return Weight::RETURN,
            None => {}
        }
        let weight = match part {
            Value::Array(parts) => {
                self.weighed.insert(key, None);
                parts.iter().fold(Weight::ONE, |sum, part| {
                    sum.and(self.weigh(part, Kind::Schema, depth + 1))
                })
            }
            Value::Object(named) => {
                self.weighed.insert(key, None);
                let mut sum = Weight::ONE;
                for (name, inner) in named {
                    let name = name.as_str();
                    let weight = match kind {
                        Kind::Schema => self.keyword(name, inner, depth),
                        Kind::Properties | Kind::Named => {
                            self.weigh(inner, Kind::Schema, depth + 1)
                        }
                    };
                    let returns = sum.returns.max(weight.returns);
                    sum = sum.and(weight);
                    if kind == Kind::Properties {
                        sum.returns = returns;
                    }
                }
                sum
            }
            _ => return Weight::ONE,
        };
        self.weighed.insert(key, Some(weight));
        weight
    }

    fn keyword(&mut self, name: &str, inner: &'a Value, depth: usize) -> Weight {
        match inner {
            Value::Object(_) if DEFINITIONS.contains(&name) => Weight::ONE,
            Value::Object(_) if name == PROPERTIES => {
                self.weigh(inner, Kind::Properties, depth + 1)
            }
            Value::Object(_) if NAMED.contains(&name) => self.weigh(inner, Kind::Named, depth + 1),
            Value::String(reference) if REFERENCES.contains(&name) => {
                self.reference(reference, depth)
            }
            inner => self.weigh(inner, Kind::Schema, depth + 1),
        }
    }

    fn reference(&mut self, reference: &'a str, depth: usize) -> Weight {
        let (base, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let fragment = percent_encoding::percent_decode_str(fragment).decode_utf8_lossy();
        let targets: Vec<&'a Value> = match &*fragment {
            "" => self.starts.clone(),
            pointer if pointer.starts_with('/') => {
                let starts = self.starts.iter().copied();
                starts.filter_map(|start| start.pointer(pointer)).collect()
            }
            anchor => self.anchors.get(anchor).cloned().unwrap_or_default(),
        };
        if base.contains(META) {
            return Weight::META;
        }
        // One that leads nowhere known may lead anywhere.
        let heaviest = targets
            .into_iter()
            .map(|target| self.weigh(target, Kind::Schema, depth + 1))
            .reduce(Weight::or);
        heaviest.unwrap_or(Weight::ENDLESS)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_referred_to_counts_for_every_way_to_it() {
        let weight = |schema| Weight::of(&schema);
        let whole =
            weight(json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": true}, "type": "null"}));
        assert_eq!(whole, Weight::new(3, 0));
        let twice = json!({
            "$defs": {"a%": {"enum": [1, 2, 3]}, "b": {"$anchor": "b", "type": "null"}},
            "allOf": [{"$ref": "#/$defs/a%25"}, {"$ref": "#/$defs/a%25"}, {"$ref": "#b"}],
        });
        assert_eq!(weight(twice), Weight::new(2 + 1 + 2 * (1 + 5) + (1 + 3), 0));
        let nowhere = json!({"$ref": "#none"});
        assert_eq!(weight(nowhere), Weight::ENDLESS);
    }

    #[test]
    fn ways_back_are_counted_where_they_meet_the_same_value() {
        let returns = |schema| Weight::of(&schema).returns;
        let next = json!({"$ref": "#"});
        assert_eq!(returns(json!({"properties": {"a": next, "b": next}})), 1);
        assert_eq!(
            returns(json!({"items": {"anyOf": [next, {"type": "null"}]}})),
            1
        );
        assert_eq!(returns(json!({"items": {"anyOf": [next, next]}})), 2);
        let twice = json!({
            "$defs": {"a": {"properties": {"next": next}}},
            "allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}],
        });
        assert_eq!(returns(twice), 2);
    }

    #[test]
    fn a_long_chain_of_references_is_not_followed_for_ever() {
        let links = (0..5000).map(|at| {
            let next = json!({"$ref": format!("#/$defs/{}", at + 1)});
            (at.to_string(), next)
        });
        let links: serde_json::Map<String, Value> = links.collect();
        let chain = json!({"$defs": links, "$ref": "#/$defs/0"});
        assert_eq!(Weight::of(&chain), Weight::ENDLESS);
    }
}
