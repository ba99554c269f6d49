//! What a schema becomes to check contents with.

use jsonschema::PatternOptions;
use serde_json::Value;

/// A schema that can be checked with.
#[derive(Debug)]
pub(super) struct Validator(jsonschema::Validator);

// === impl Validator ===

impl Validator {
    /// Errors: why the text is no schema.
    pub(super) fn new(schema: &str) -> Result<Self, String> {
        let schema: Value = serde_json::from_str(schema).map_err(|error| error.to_string())?;
        jsonschema::options()
            // Nothing is fetched, whatever a schema refers to.
            .offline()
            // One that backtracks can take for ever.
            .with_pattern_options(PatternOptions::regex())
            .build(&schema)
            .map(Self)
            .map_err(|error| match error.instance_path().as_str() {
                "" => error.to_string(),
                place => format!("{place}: {error}"),
            })
    }

    /// Whether a value satisfies the schema.
    pub(super) fn takes(&self, value: &Value) -> bool {
        self.0.is_valid(value)
    }

    /// What is wrong with a value, and where in it.
    pub(super) fn violations<'a>(
        &'a self,
        value: &'a Value,
    ) -> impl Iterator<Item = (String, String)> + 'a {
        self.0
            .iter_errors(value)
            .map(|error| (error.instance_path().to_string(), error.to_string()))
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
}
