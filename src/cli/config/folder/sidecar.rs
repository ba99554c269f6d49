//! The sidecar: what files do not say by themselves, by key.

use std::collections::BTreeMap;

use clap::ValueEnum;
use stanchion_client::proto::ContentType;
use toml::{Table, Value};

use crate::cli::config::{
    item::{self, Item, Type},
    show,
};

const HEAD: &str = "\
# What the files beside this do not say. Their types follow from their names, where not said here.
";

/// What the sidecar says, by key.
#[derive(Debug, Default)]
pub(super) struct Sidecar(pub(super) BTreeMap<String, Note>);

/// What it says about one config.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Note {
    content_type: Option<ContentType>,
    labels: BTreeMap<String, String>,
    description: String,
}

// === impl Sidecar ===

impl Sidecar {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let table: Table = text.parse().map_err(|error| format!("{error}"))?;
        let notes = table.into_iter().map(|(key, value)| {
            let Value::Table(note) = value else {
                return Err(format!("`{key}` is no table"));
            };
            let note = Note::parse(note).map_err(|error| format!("`{key}`: {error}"))?;
            Ok((key, note))
        });
        notes.collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn text(&self) -> String {
        let tables: Table = self
            .0
            .iter()
            .map(|(key, note)| (key.clone(), Value::Table(note.table())))
            .collect();
        format!("{HEAD}\n{tables}")
    }
}

// === impl Note ===

impl Note {
    /// What the file of an item does not say; nothing if it says all.
    pub(super) fn of(item: &Item) -> Option<Self> {
        let guess = item::guess(&item.key, &item.content);
        let note = Self {
            content_type: (item.content_type != guess).then_some(item.content_type),
            labels: item.labels.clone(),
            description: item.description.clone(),
        };
        (note != Self::default()).then_some(note)
    }

    pub(super) fn apply(self, item: &mut Item) {
        item.content_type = self.content_type.unwrap_or(item.content_type);
        item.labels = self.labels;
        item.description = self.description;
    }

    fn parse(table: Table) -> Result<Self, String> {
        let mut note = Self::default();
        for (name, value) in table {
            match (name.as_str(), value) {
                ("type", Value::String(text)) => {
                    let content_type = Type::from_str(&text, false)
                        .map_err(|_| format!("there is no type `{text}`"))?;
                    note.content_type = Some(content_type.into());
                }
                ("description", Value::String(text)) => note.description = text,
                ("labels", Value::Table(labels)) => {
                    for (label, value) in labels {
                        let Value::String(value) = value else {
                            return Err(format!("the label `{label}` is no text"));
                        };
                        note.labels.insert(label, value);
                    }
                }
                ("type" | "description" | "labels", _) => {
                    return Err(format!("`{name}` is of the wrong kind"));
                }
                _ => return Err(format!("`{name}` is none of type, description, labels")),
            }
        }
        Ok(note)
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        if let Some(content_type) = self.content_type {
            table.insert("type".into(), show::content_type(content_type).into());
        }
        if !self.description.is_empty() {
            table.insert("description".into(), self.description.as_str().into());
        }
        if !self.labels.is_empty() {
            let labels = self.labels.iter();
            let labels = labels.map(|(label, value)| (label.clone(), value.as_str().into()));
            table.insert("labels".into(), Value::Table(labels.collect()));
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut item = Item::new("db/a.json", "1");
        assert_eq!(Note::of(&item), None);
        item.content_type = ContentType::Text;
        item.labels = [("a b".into(), "\"\n".into())].into();
        item.description = "ü".into();
        let note = Note::of(&item).unwrap();
        let text = Sidecar([(item.key.clone(), note)].into()).text();

        let mut read = Sidecar::parse(&text).unwrap();
        let mut again = Item::new("db/a.json", "1");
        read.0.remove("db/a.json").unwrap().apply(&mut again);
        assert_eq!(again, item);
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for (text, fault) in [
            ("a = 1", "`a` is no table"),
            ("[a]\ntyp = \"json\"", "`typ` is none of"),
            ("[a]\ntype = \"jsn\"", "no type `jsn`"),
            ("[a]\nlabels = 1", "`labels` is of the wrong kind"),
            ("[a]\nlabels = {b = 1}", "label `b`"),
            ("[a", "TOML"),
        ] {
            let error = Sidecar::parse(text).unwrap_err();
            assert!(error.contains(fault), "{text}: {error}");
        }
    }
}
