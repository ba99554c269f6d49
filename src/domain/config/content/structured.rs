//! JSON, YAML and TOML, all read as the values that JSON has.
//!
//! None takes more time or room than in proportion to its length: the nesting is bounded, and what
//! the aliases of YAML repeat counts as if it were written out.

use serde_json::Value;
use serde_saphyr::options::DuplicateKeyPolicy;

use super::Fault;

/// How deep values may be nested in YAML: each level takes some 20 KiB of stack in a build without
/// optimization. The parsers of JSON and TOML have a bound of their own, about twice as large.
const DEPTH: usize = 48;
/// How many documents a YAML stream may have.
const DOCUMENTS: usize = 1000;
/// How many times its length a YAML content may come to with all aliases written out.
const GROWTH: usize = 10;

pub(super) fn json(text: &str) -> Result<Vec<Value>, Fault> {
    let read = serde_json::from_str(text).map_err(|error| {
        let reason = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        Fault {
            line: error.line(),
            column: error.column(),
            reason: reason.strip_suffix(&place).unwrap_or(&reason).to_owned(),
        }
    });
    Ok(vec![read?])
}

pub(super) fn yaml(text: &str) -> Result<Vec<Value>, Fault> {
    // At least so many for the smallest contents.
    let grown = (text.len() * GROWTH).max(1000);
    let options = serde_saphyr::options! {
        with_snippet: false,
        duplicate_keys: DuplicateKeyPolicy::Error,
        // As YAML 1.2 has it: `no` is a text.
        strict_booleans: true,
        non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::AsString,
        budget: serde_saphyr::budget! {
            // It would refuse what an honest file says a hundred times.
            enforce_alias_anchor_ratio: false,
            max_depth: DEPTH,
            flow_nesting_limit: DEPTH,
            max_documents: DOCUMENTS,
            max_events: grown,
            max_nodes: grown,
            max_anchors: text.len(),
            max_aliases: text.len(),
            max_recorded_anchor_events: grown,
            max_recorded_anchor_bytes: grown,
            max_total_scalar_bytes: grown,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: grown,
        },
    };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        let error = error.without_snippet();
        let place = error.location();
        let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Fault {
            line: place.map_or(0, |place| number(place.line())),
            column: place.map_or(0, |place| number(place.column())),
            reason: error.to_string(),
        }
    })
}

pub(super) fn toml(text: &str) -> Result<Vec<Value>, Fault> {
    let read: Result<toml::Table, _> = toml::from_str(text);
    let table = read.map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        Fault::at(text, offset, error.message())
    })?;
    Ok(vec![from_toml(toml::Value::Table(table))])
}

fn from_toml(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        // JSON has no number for these.
        toml::Value::Float(number) if !number.is_finite() => number.to_string().into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(value) => value.into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(values) => values.into_iter().map(from_toml).collect(),
        toml::Value::Table(table) => {
            let entries = table.into_iter();
            entries
                .map(|(key, value)| (key, from_toml(value)))
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_same_is_read_from_each() {
        let said = json!({"db": {"host": "a", "ports": [1, 2]}, "on": true, "share": 0.5});
        let said = vec![said];
        assert_eq!(json(&said[0].to_string()).unwrap(), said);
        let text = "db:\n  host: a\n  ports: [1, 2]\non: true\nshare: 0.5\n";
        assert_eq!(yaml(text).unwrap(), said);
        let text = "on = true\nshare = 0.5\n[db]\nhost = 'a'\nports = [1, 2]\n";
        assert_eq!(toml(text).unwrap(), said);
    }

    #[test]
    fn what_json_has_not_becomes_text() {
        let text = "at = 1979-05-27T07:32:00Z\nmost = inf\n";
        let said = json!({"at": "1979-05-27T07:32:00Z", "most": "inf"});
        assert_eq!(toml(text).unwrap(), [said]);
        let said = json!({"1": "a", "no": "no", "most": ".inf"});
        assert_eq!(yaml("1: a\nno: no\nmost: .inf\n").unwrap(), [said]);
    }

    #[test]
    fn a_yaml_stream_has_several_documents_and_no_two_equal_keys() {
        assert_eq!(yaml("a: 1\n---\nb: 2\n").unwrap().len(), 2);
        assert!(yaml("").unwrap().is_empty());
        assert!(yaml("a: 1\na: 2\n").is_err());
        let merged = "base: &base {a: 1}\nmore: {<<: *base, b: 2}\n";
        let said = json!({"base": {"a": 1}, "more": {"a": 1, "b": 2}});
        assert_eq!(yaml(merged).unwrap(), [said]);
    }

    #[test]
    fn bombs_do_not_go_off() {
        let levels = (1..10).map(|level| {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            format!("a{level}: &a{level} [{aliases}]\n")
        });
        let laughs = "a0: &a0 [ha, ha]\n".to_owned() + &levels.collect::<String>();
        assert!(yaml(&laughs).is_err());
        let long = format!(
            "a: &a {}\nb: [{}]\n",
            "x".repeat(10_000),
            "*a,".repeat(10_000)
        );
        assert!(yaml(&long).is_err());
        let deep = |open: &str, close: &str| open.repeat(50_000) + &close.repeat(50_000);
        assert!(yaml(&deep("[", "]")).is_err());
        assert!(yaml(&"- ".repeat(50_000)).is_err());
        assert!(json(&deep("[", "]")).is_err());
        assert!(json(&deep("{\"a\":", "}")).is_err());
        assert!(toml(&format!("a = {}", deep("[", "]"))).is_err());
        assert!(toml(&format!("[{}a]", "a.".repeat(50_000))).is_err());
        assert!(yaml("a: &a [*a]\n").is_err());
    }

    #[test]
    fn values_may_be_nested_as_deep_as_the_stack_of_a_thread_bears() {
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        yaml(&deep(DEPTH - 2)).unwrap();
        yaml(&"- ".repeat(DEPTH - 2)).unwrap();
        json(&deep(100)).unwrap();
    }

    #[test]
    fn honest_aliases_are_read() {
        let text = "a: &a {x: 1, y: [1, 2, 3]}\n".to_owned()
            + &(0..100).map(|n| format!("b{n}: *a\n")).collect::<String>();
        assert_eq!(yaml(&text).unwrap()[0]["b99"]["y"][2], 3);
    }
}
