//! `consul kv export`: a list of keys with values in base64.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;

use super::Harvest;
use crate::cli::config::item::Item;

pub(super) fn parse(export: &[u8]) -> Result<Harvest, String> {
    let list: Value = serde_json::from_slice(export).map_err(|error| error.to_string())?;
    let list = list
        .as_array()
        .ok_or("is no list, as `consul kv export` writes it")?;
    let mut harvest = Harvest::default();
    for (index, entry) in list.iter().enumerate() {
        let key = entry["key"]
            .as_str()
            .ok_or_else(|| format!("[{index}] has no `key`"))?;
        let value = BASE64_STANDARD
            .decode(entry["value"].as_str().unwrap_or_default())
            .map_err(|error| format!("[{index}].value: {error}"))?;
        // Consul's UI makes folders so.
        if key.ends_with('/') && value.is_empty() {
            continue;
        }
        let mut item = Item::new(key, value);
        if let Some(flags) = entry["flags"].as_u64().filter(|flags| *flags != 0) {
            item.labels.insert("consul.flags".into(), flags.to_string());
        }
        harvest.items.push(item);
    }
    Ok(harvest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_folders_are_none_and_flags_are_labels() {
        let export = br#"[
            {"key": "shop/", "flags": 0, "value": ""},
            {"key": "shop/a.json", "flags": 42, "value": "e30="},
            {"key": "shop/b", "flags": 0, "value": ""}
        ]"#;
        let items = parse(export).unwrap().items;
        let mut flagged = Item::new("shop/a.json", "{}");
        flagged.labels = [("consul.flags".into(), "42".into())].into();
        assert_eq!(items, [flagged, Item::new("shop/b", "")]);
    }

    #[test]
    fn what_is_something_else_is_refused() {
        for export in ["{}", "[", "[{}]", r#"[{"key": "a", "value": "!"}]"#] {
            assert!(parse(export.as_bytes()).is_err(), "{export}");
        }
    }
}
