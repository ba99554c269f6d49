//! What a schema becomes to check contents with.

use jsonschema::PatternOptions;
use serde_json::Value;

use super::weight::Weight;

/// The heaviest schema: one of 64 KiB that refers to nothing has less than a third of it.
const HEAVIEST: u64 = 100_000;
/// How much may be gone through to find all violations of a value: there may be as many, and all
/// are found before the first one is told.
const SEARCHED: u64 = 1_000_000;

/// The most parts of a schema times values that a content is checked with: a second or so, in which
/// the thread does nothing else.
const CHECKED: u64 = 100_000_000;

/// A schema that can be checked with.
#[derive(Debug)]
pub(super) struct Validator {
    schema: jsonschema::Validator,
    weight: Weight,
}

// === impl Validator ===

impl Validator {
    /// Errors: why the text is no schema.
    pub(super) fn new(schema: &str) -> Result<Self, String> {
        let schema: Value = serde_json::from_str(schema).map_err(|error| error.to_string())?;
        let validator = jsonschema::options()
            // Nothing is fetched, whatever a schema refers to.
            .offline()
            // One that backtracks can take for ever.
            .with_pattern_options(PatternOptions::regex())
            .build(&schema)
            .map_err(|error| match error.instance_path().as_str() {
                "" => error.to_string(),
                place => format!("{place}: {error}"),
            })?;
        let weight = Weight::of(&schema);
        if weight.parts > HEAVIEST {
            return Err(format!(
                "with all that it refers to it has more than {HEAVIEST} parts"
            ));
        }
        Ok(Self {
            schema: validator,
            weight,
        })
    }

    /// Whether the value is small enough to be checked with so large a schema.
    pub(super) fn bears(&self, value: &Value) -> bool {
        size(value).saturating_mul(self.weight.parts) <= CHECKED
    }

    /// Whether a value satisfies the schema.
    pub(super) fn takes(&self, value: &Value) -> bool {
        self.schema.is_valid(value)
    }

    /// What is wrong with a value that does not satisfy the schema, and where in it: the first
    /// violations, at most `most`, and how many there are.
    pub(super) fn violations(&self, value: &Value, most: usize) -> (Vec<(String, String)>, usize) {
        let Weight { parts, returns } = self.weight;
        // Only whether a value satisfies a schema is remembered where the same is come to in two
        // ways. To find out why not takes them all, twice as many with each level of the value.
        if returns > 1 || size(value).saturating_mul(parts) > SEARCHED {
            let all = (String::new(), "does not satisfy the schema".into());
            return (vec![all], 1);
        }
        let (mut told, mut count) = (Vec::new(), 0);
        for error in self.schema.iter_errors(value) {
            count += 1;
            // Words may have the whole value in them.
            if told.len() < most {
                told.push((error.instance_path().to_string(), error.to_string()));
            }
        }
        (told, count)
    }
}

/// How many values are in a value, with itself.
fn size(value: &Value) -> u64 {
    match value {
        Value::Array(values) => values.iter().map(size).sum::<u64>() + 1,
        Value::Object(values) => values.values().map(size).sum::<u64>() + 1,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_no_schema_is_told_with_its_place() {
        let place = Validator::new(r#"{"properties": {"a": {"type": "strin"}}}"#).unwrap_err();
        assert!(place.starts_with("/properties/a/type: "), "{place}");
        for bad in [
            "",
            "1",
            "{",
            r#"{"pattern": "("}"#,
            r#"{"pattern": "(?=a)"}"#,
            r#"{"$ref": "https://example.com/schema.json"}"#,
            r#"{"$ref": "file:///etc/passwd"}"#,
            r##"{"$ref": "#/$defs/none"}"##,
            r#"{"$schema": "https://example.com/draft"}"#,
        ] {
            assert!(Validator::new(bad).is_err(), "{bad}");
        }
        for good in [
            "true",
            "{}",
            r##"{"$defs": {"a": {"type": "null"}}, "$ref": "#/$defs/a"}"##,
        ] {
            Validator::new(good).unwrap();
        }
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let list = Validator::new(r##"{"properties": {"next": {"$ref": "#"}}, "type": "object"}"##);
        let list = list.unwrap();
        assert!(list.takes(&json!({"next": {"next": {}}})));
        assert!(!list.takes(&json!({"next": {"next": 1}})));
        let deep = (0..120).fold(json!({}), |inner, _| json!({ "next": inner }));
        assert!(list.takes(&deep));
        if let Ok(own) = Validator::new(r##"{"$ref": "#"}"##) {
            own.takes(&json!(1));
        }
    }
    #[test]
    fn bombs_do_not_go_off() {
        let links = (0..40).map(|at| {
            let next = json!({"$ref": format!("#/$defs/a{}", at + 1)});
            (format!("a{at}"), json!({"allOf": [next, next]}))
        });
        let links = links.chain([("a40".to_owned(), json!({"type": "null"}))]);
        let links: serde_json::Map<String, Value> = links.collect();
        let bomb = json!({"$defs": links, "$ref": "#/$defs/a0"});
        let refused = Validator::new(&bomb.to_string()).unwrap_err();
        assert!(refused.contains("100000 parts"), "{refused}");
    }

    #[test]
    fn a_schema_that_refers_to_itself_twice_is_told_of_as_a_whole() {
        let both = r##"{"properties": {"next": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}},
            "not": {"required": ["bad"]}}"##;
        let both = Validator::new(both).unwrap();
        let deep = (0..100).fold(json!({"bad": 1}), |inner, _| json!({ "next": inner }));
        assert!(!both.takes(&deep));
        let (told, count) = both.violations(&deep, 20);
        assert_eq!((told[0].0.as_str(), told.len(), count), ("", 1, 1));
        let once = r##"{"properties": {"next": {"$ref": "#"}}, "not": {"required": ["bad"]}}"##;
        let once = Validator::new(once).unwrap();
        let (told, count) = once.violations(&json!({"bad": 1, "next": {"bad": 1}}), 1);
        assert_eq!((told.len(), count), (1, 2));
    }
}
