//! `config diff`: what differs between two versions, or from a file.

use std::{fs, path::PathBuf};

use clap::Args;
use serde_json::{Value, json};
use stanchion_client::{
    config::Side,
    proto::{ConfigVersion, ContentType, DiffConfigVersionsResponse},
};

use super::{
    item::{Item, Type},
    show,
};
use crate::cli::{
    Outcome, colour::Colours, connection::Connection, exit::Exit, failure::Failure, file, output,
};

/// Show what differs between two versions of a config
///
/// With no version: what the current one changed. With one: what changed since. JSON, YAML and TOML
/// also have a JSON patch (RFC 6902).
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  stanchion config diff shop/limits\n  \
                        stanchion config diff shop/limits 3\n  \
                        stanchion config diff shop/limits 3 5 --patch\n  \
                        stanchion config diff shop/limits --file limits.json --exit-code")]
pub(crate) struct Diff {
    /// Key of the config
    key: String,

    /// Version before [default: the one before that after; with --file, the current one]
    from: Option<i64>,

    /// Version after [default: the current one]
    #[arg(conflicts_with = "file")]
    to: Option<i64>,

    /// Compares with what this file says
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// What the file is written in [default: as its name ends]
    #[arg(long = "type", value_enum, value_name = "TYPE", requires = "file")]
    content_type: Option<Type>,

    /// Prints the JSON patch
    #[arg(long)]
    patch: bool,

    /// Exits 7 if the contents differ
    #[arg(long)]
    exit_code: bool,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

// === impl Diff ===

impl Diff {
    pub(super) async fn run(self) -> Outcome {
        let to = match &self.file {
            Some(path) => {
                let content = fs::read(path).map_err(|error| file::unreadable(path, &error))?;
                let name = path.to_string_lossy();
                let item = Item::new(name, content);
                let content_type = self.content_type.map(ContentType::from);
                Some(Side::Given {
                    content_type: content_type.unwrap_or(item.content_type),
                    content: item.content,
                })
            }
            None => self.to.map(Side::Version),
        };
        let configs = self.connection.client()?.config();
        let from = self.from.map(Side::Version);
        // One version alone is what has changed since, not what it changed.
        let diff = configs.diff(&self.key, from, to).await?;
        if self.connection.is_json() {
            output::json(&json(&diff)?)?;
        } else if self.patch {
            self.print_patch(&diff)?;
        } else {
            print(&diff)?;
        }
        Ok(match self.exit_code && !diff.equal {
            true => Exit::Different,
            false => Exit::Ok,
        })
    }

    fn print_patch(&self, diff: &DiffConfigVersionsResponse) -> Result<(), Failure> {
        match patch(diff)? {
            Value::Null => Err(Failure::new(
                Exit::Failed,
                format!("{} has no patch: not both are JSON, YAML or TOML", self.key),
            )),
            patch => output::json(&patch),
        }
    }
}

fn print(diff: &DiffConfigVersionsResponse) -> Result<(), Failure> {
    for note in beside(diff) {
        output::note(&note)?;
    }
    if diff.binary && !diff.equal {
        let side = |version: &Option<ConfigVersion>| match version {
            Some(version) => format!("{} bytes, sha256 {}", version.size_bytes, version.sha256),
            None => "none, or as given".into(),
        };
        let (from, to) = (side(&diff.from), side(&diff.to));
        return output::line(&format!("binary contents differ: {from} -> {to}"));
    }
    let colours = Colours::of_output();
    for (at, line) in diff.unified.split_terminator('\n').enumerate() {
        output::line(&match at {
            0 | 1 => colours.heading(line),
            _ => colours.change(line),
        })?;
    }
    if diff.coarse {
        output::note("the contents are too long for a closer comparison")?;
    }
    Ok(())
}

/// What differs beside the content.
fn beside(diff: &DiffConfigVersionsResponse) -> Vec<String> {
    let (Some(from), Some(to)) = (&diff.from, &diff.to) else {
        return Vec::new();
    };
    // Of a deletion there is nothing else to say.
    if from.sha256.is_empty() || to.sha256.is_empty() {
        return Vec::new();
    }
    let mut notes = Vec::new();
    if from.content_type != to.content_type {
        let [from, to] = [from, to].map(|version| show::content_type(version.content_type()));
        notes.push(format!("type: {from} -> {to}"));
    }
    if from.labels != to.labels {
        let [from, to] = [from, to].map(|version| json!(version.labels));
        notes.push(format!("labels: {from} -> {to}"));
    }
    if from.description != to.description {
        let (from, to) = (&from.description, &to.description);
        notes.push(format!("description: {from:?} -> {to:?}"));
    }
    notes
}

fn json(diff: &DiffConfigVersionsResponse) -> Result<Value, Failure> {
    let version = |version: &ConfigVersion| show::version(version, false);
    Ok(json!({
        "from": diff.from.as_ref().map(version),
        "to": diff.to.as_ref().map(version),
        "equal": diff.equal,
        "binary": diff.binary,
        "unified": diff.unified,
        "patch": patch(diff)?,
        "coarse": diff.coarse,
    }))
}

/// The patch; null if there is none.
fn patch(diff: &DiffConfigVersionsResponse) -> Result<Value, Failure> {
    match diff.json_patch.as_str() {
        "" => Ok(Value::Null),
        patch => serde_json::from_str(patch).map_err(|error| {
            Failure::new(
                Exit::Failed,
                format!("the server's patch is no JSON: {error}"),
            )
        }),
    }
}
