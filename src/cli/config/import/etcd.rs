//! `etcdctl get --prefix … -w json`: keys and values in base64.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;

use super::Harvest;
use crate::cli::config::item::Item;

pub(super) fn parse(export: &[u8]) -> Result<Harvest, String> {
    let answer: Value = serde_json::from_slice(export).map_err(|error| error.to_string())?;
    if answer["header"].is_null() {
        return Err("is no answer of etcdctl: it has no `header`".into());
    }
    if answer["more"] == true {
        return Err("has not all keys: get them without --limit".into());
    }
    let mut harvest = Harvest::default();
    for (index, kv) in answer["kvs"].as_array().into_iter().flatten().enumerate() {
        let field = |name: &str| {
            // What is empty is left out.
            let text = kv[name].as_str().unwrap_or_default();
            BASE64_STANDARD
                .decode(text)
                .map_err(|error| format!("kvs[{index}].{name}: {error}"))
        };
        // A key that is no UTF-8 shows as one that cannot be used.
        let key = String::from_utf8_lossy(&field("key")?).into_owned();
        match kv["lease"].as_i64().unwrap_or_default() {
            0 => harvest.items.push(Item::new(key, field("value")?)),
            _ => harvest.left_out.push(format!("`{key}` hangs on a lease")),
        }
    }
    Ok(harvest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_decoded_and_what_hangs_on_a_lease_is_left_out() {
        let export = br#"{"header": {"cluster_id": 1, "revision": 9}, "count": 3, "kvs": [
            {"key": "L3Nob3AvYQ==", "create_revision": 2, "mod_revision": 2, "version": 1, "value": "MQ=="},
            {"key": "L3Nob3AvYg==", "create_revision": 3, "mod_revision": 3, "version": 1},
            {"key": "L3Nob3AvYw==", "value": "MQ==", "lease": 7587862094001337124}
        ]}"#;
        let harvest = parse(export).unwrap();
        assert_eq!(
            harvest.items,
            [Item::new("/shop/a", "1"), Item::new("/shop/b", "")]
        );
        assert_eq!(harvest.left_out, ["`/shop/c` hangs on a lease"]);
    }

    #[test]
    fn what_is_something_else_or_not_all_is_refused() {
        for (export, fault) in [
            ("[]", "no `header`"),
            ("{", "EOF"),
            (r#"{"header": {}, "more": true}"#, "without --limit"),
            (r#"{"header": {}, "kvs": [{"key": "!"}]}"#, "kvs[0].key"),
        ] {
            let error = parse(export.as_bytes()).unwrap_err();
            assert!(error.contains(fault), "{export}: {error}");
        }
        assert!(parse(br#"{"header": {}}"#).unwrap().items.is_empty());
    }
}
