//! Nacos' export of a namespace: a zip of `GROUP/DATAID` with what else is known in `.metadata.yml`,
//! or, from before 2.0, in `.meta.yml`.

use std::{
    collections::BTreeMap,
    io::{Cursor, Read},
};

use serde_json::Value;
use stanchion_client::proto::ContentType;
use zip::ZipArchive;

use super::{Harvest, MAX_EXPORT};
use crate::cli::config::item::{Item, MAX_CONTENT};

const METADATA: &str = ".metadata.yml";
const OLD_METADATA: &str = ".meta.yml";

pub(super) fn parse(export: &[u8]) -> Result<Harvest, String> {
    let mut files = unpacked(export)?;
    let metadata = files.remove(METADATA).map(|text| metadata(&text));
    let metadata = metadata.transpose()?.unwrap_or_default();
    let applications = files.remove(OLD_METADATA);
    let applications = applications
        .map(|text| applications_of(&text))
        .unwrap_or_default();
    let items = files.into_iter().map(|(key, content)| {
        let mut item = Item::new(key, content);
        let known = metadata.get(&item.key);
        let said = |name: &str| {
            known
                .and_then(|known| known[name].as_str())
                .unwrap_or_default()
        };
        if let Some(content_type) = content_type(said("type")) {
            item.content_type = content_type;
        }
        item.description = said("desc").to_owned();
        let application = match said("appName") {
            "" => applications
                .get(&old_name(&item.key))
                .map_or("", String::as_str),
            application => application,
        };
        if !application.is_empty() {
            item.labels.insert("nacos.app".into(), application.into());
        }
        item
    });
    Ok(Harvest {
        items: items.collect(),
        left_out: Vec::new(),
    })
}

/// The files of a zip by their names, which are never used as paths.
fn unpacked(export: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let fault = |error: zip::result::ZipError| error.to_string();
    let mut archive = ZipArchive::new(Cursor::new(export)).map_err(fault)?;
    let mut files = BTreeMap::new();
    // What few bytes unpack to must not fill the memory.
    let mut left = MAX_EXPORT;
    for index in 0..archive.len() {
        let file = archive.by_index(index).map_err(fault)?;
        if file.is_dir() {
            continue;
        }
        let name = file.name().map_err(fault)?.into_owned();
        let most = match &name[..] {
            // It is about all configs, and as long as they are many.
            METADATA | OLD_METADATA => left,
            _ => left.min(MAX_CONTENT as u64 + 1),
        };
        let mut content = Vec::new();
        file.take(most)
            .read_to_end(&mut content)
            .map_err(|error| format!("{name}: {error}"))?;
        left -= content.len() as u64;
        if left == 0 {
            return Err(format!("unpacks to more than {MAX_EXPORT} bytes"));
        }
        // One that is cut off is seen to be too large.
        files.insert(name, content);
    }
    Ok(files)
}

/// What is known of each config, by `group/dataId`.
fn metadata(text: &[u8]) -> Result<BTreeMap<String, Value>, String> {
    let value: Value =
        serde_saphyr::from_slice(text).map_err(|error| format!("{METADATA}: {error}"))?;
    let entries = value["metadata"].as_array();
    let entries = entries.ok_or_else(|| format!("{METADATA} has no list `metadata`"))?;
    Ok(entries
        .iter()
        .filter_map(|entry| {
            let (group, data_id) = (entry["group"].as_str()?, entry["dataId"].as_str()?);
            Some((format!("{group}/{data_id}"), entry.clone()))
        })
        .collect())
}

/// The applications of an old export: lines `NAME.app=APPLICATION`.
fn applications_of(text: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().filter_map(|line| {
        let (name, application) = line.split_once('=')?;
        Some((
            name.strip_suffix(".app")?.to_owned(),
            application.to_owned(),
        ))
    });
    lines.collect()
}

/// What an old export calls `group/dataId`: the last dot of the data id is a `~`.
fn old_name(key: &str) -> String {
    let (group, data_id) = key.split_once('/').unwrap_or(("", key));
    match data_id.rsplit_once('.') {
        Some((stem, extension)) => format!("{group}.{stem}~{extension}"),
        None => format!("{group}.{data_id}"),
    }
}

fn content_type(name: &str) -> Option<ContentType> {
    Some(match name {
        "json" => ContentType::Json,
        "yaml" => ContentType::Yaml,
        "toml" => ContentType::Toml,
        "properties" => ContentType::Properties,
        "xml" => ContentType::Xml,
        "text" | "html" => ContentType::Text,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::{ZipWriter, write::SimpleFileOptions};

    use super::*;

    fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        let options =
            SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
        for (name, content) in files {
            zip.start_file(*name, options).unwrap();
            zip.write_all(content).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    #[test]
    fn an_export_says_type_description_and_application() {
        let metadata = b"metadata:\n- appName: shop\n  dataId: a.properties\n  desc: limits\n  \
                         group: DEFAULT_GROUP\n  type: yaml\n";
        let export = packed(&[
            ("DEFAULT_GROUP/a.properties", b"a: 1"),
            ("other/b.json", b"{}"),
            (METADATA, metadata),
        ]);
        let items = parse(&export).unwrap().items;
        let first = Item {
            content_type: ContentType::Yaml,
            labels: [("nacos.app".into(), "shop".into())].into(),
            description: "limits".into(),
            ..Item::new("DEFAULT_GROUP/a.properties", "a: 1")
        };
        assert_eq!(items, [first, Item::new("other/b.json", "{}")]);
    }

    #[test]
    fn an_old_export_says_the_application() {
        let export = packed(&[
            ("G/a.b.json", b"{}"),
            (OLD_METADATA, b"G.a.b~json.app=shop\r\n"),
        ]);
        let items = parse(&export).unwrap().items;
        assert_eq!(items[0].labels["nacos.app"], "shop");
    }

    #[test]
    fn what_leads_out_of_a_directory_is_a_key_that_cannot_be_used() {
        let export = packed(&[("../../etc/passwd", b"1")]);
        let (items, odd) = super::super::usable(parse(&export).unwrap().items, "");
        assert_eq!((items.len(), odd.len()), (0, 1));
    }

    #[test]
    fn what_is_no_zip_and_what_unpacks_to_too_much_is_refused() {
        assert!(parse(b"no zip").is_err());
        let large = vec![0; MAX_CONTENT + 2];
        let export = packed(&[("G/large", &large)]);
        let (_, odd) = super::super::usable(parse(&export).unwrap().items, "");
        assert_eq!(odd.len(), 1);
        let bad = packed(&[(METADATA, b"a: 1")]);
        assert!(parse(&bad).unwrap_err().contains("no list"));
    }
}
