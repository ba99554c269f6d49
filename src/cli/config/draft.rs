//! `config draft …`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use stanchion_client::{
    ChangeOptions,
    proto::{ConfigDraft, ConfigPut, ContentType, config_draft},
};

use super::{
    changes::read_file,
    item::{Type, guess},
    show,
};
use crate::cli::{Outcome, connection::Connection, exit::Exit, output, output::Table, parse};

/// Prepare changes without effect, for a release to publish
#[derive(Debug, Subcommand)]
pub(crate) enum Draft {
    Put(Put),
    Get(Get),
    List(List),
    Discard(Discard),
}

/// Keep what a config is to say once it is published
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  stanchion config draft put shop/limit 100\n  \
                        stanchion config draft put shop/limits --file limits.json\n  \
                        stanchion config draft put shop/old --delete"
)]
pub(crate) struct Put {
    /// Key of the config
    key: String,

    /// Content
    #[arg(required_unless_present_any = ["file", "delete"], allow_hyphen_values = true)]
    content: Option<String>,

    /// Reads the content from a file; the type is that of its name, such as `.json`
    #[arg(long, conflicts_with = "content", value_name = "PATH")]
    file: Option<PathBuf>,

    /// The config is to be deleted
    #[arg(long, conflicts_with_all = ["content", "file"])]
    delete: bool,

    /// What the content is written in [default: what the name of the file says, else text]
    #[arg(
        long = "type",
        value_enum,
        value_name = "TYPE",
        conflicts_with = "delete"
    )]
    content_type: Option<Type>,

    /// A label; may be repeated. Replaces the former ones
    #[arg(long = "label", value_parser = parse::pair, value_name = "KEY=VALUE", conflicts_with = "delete")]
    labels: Vec<(String, String)>,

    /// What the config is for. Replaces the former text
    #[arg(long, value_name = "TEXT", conflicts_with = "delete")]
    description: Option<String>,

    /// Why
    #[arg(short = 'm', long, value_name = "TEXT")]
    comment: Option<String>,

    #[command(flatten)]
    connection: Connection,
}

/// Show a draft
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stanchion config draft get shop/limit")]
pub(crate) struct Get {
    /// Key of the config
    key: String,

    #[command(flatten)]
    connection: Connection,
}

/// List drafts
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stanchion config draft list shop/")]
pub(crate) struct List {
    /// What keys begin with
    #[arg(default_value = "")]
    prefix: String,

    #[command(flatten)]
    connection: Connection,
}

/// Throw a draft away
///
/// Exits 3 if there is none.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stanchion config draft discard shop/limit")]
pub(crate) struct Discard {
    /// Key of the config
    key: String,

    #[command(flatten)]
    connection: Connection,
}

// === impl Draft ===

impl Draft {
    pub(super) async fn run(self) -> Outcome {
        match self {
            Self::Put(command) => command.run().await,
            Self::Get(command) => command.run().await,
            Self::List(command) => command.run().await,
            Self::Discard(command) => command.run().await,
        }
    }

    pub(super) fn connection(&self) -> &Connection {
        match self {
            Self::Put(command) => &command.connection,
            Self::Get(command) => &command.connection,
            Self::List(command) => &command.connection,
            Self::Discard(command) => &command.connection,
        }
    }
}

// === impl Put ===

impl Put {
    async fn run(self) -> Outcome {
        let put = match (self.delete, &self.file) {
            (true, _) => None,
            (false, Some(path)) => {
                let content = read_file(path).await?;
                Some(ConfigPut {
                    content_type: guess(&path.to_string_lossy(), &content).into(),
                    content: content.into(),
                    ..ConfigPut::default()
                })
            }
            (false, None) => Some(ConfigPut {
                content: self.content.unwrap_or_default().into(),
                ..ConfigPut::default()
            }),
        };
        let put = put.map(|put| ConfigPut {
            content_type: match self.content_type {
                Some(content_type) => ContentType::from(content_type).into(),
                None => put.content_type,
            },
            labels: self.labels.into_iter().collect(),
            description: self.description.unwrap_or_default(),
            ..put
        });
        let options = ChangeOptions {
            comment: self.comment.unwrap_or_default(),
            ..ChangeOptions::default()
        };
        let configs = self.connection.client()?.config();
        let answer = configs.put_draft(&self.key, put, options).await?;
        let draft = answer.draft.unwrap_or_default();
        if self.connection.is_json() {
            let draft = for_programs(&draft, false);
            output::json(&json!({"draft": draft, "unchanged": answer.unchanged}))?;
        } else {
            let unchanged = if answer.unchanged { ", unchanged" } else { "" };
            output::line(&format!("draft of {}{unchanged}", draft.key))?;
        }
        Ok(Exit::Ok)
    }
}

// === impl Get ===

impl Get {
    async fn run(self) -> Outcome {
        let draft = self.connection.client()?.config().draft(&self.key).await?;
        if self.connection.is_json() {
            output::json(&for_programs(&draft, true))?;
            return Ok(Exit::Ok);
        }
        match &draft.change {
            Some(config_draft::Change::Put(put)) => output::raw(&put.content)?,
            _ => output::note(&format!("{} is to be deleted", draft.key))?,
        }
        Ok(Exit::Ok)
    }
}

// === impl List ===

impl List {
    async fn run(self) -> Outcome {
        let drafts = self
            .connection
            .client()?
            .config()
            .drafts(&self.prefix)
            .await?;
        if self.connection.is_json() {
            let drafts: Vec<Value> = drafts
                .iter()
                .map(|draft| for_programs(draft, false))
                .collect();
            output::json(&json!({ "drafts": drafts }))?;
            return Ok(Exit::Ok);
        }
        let mut table = Table::new(["KEY", "CHANGE", "BASE", "AUTHOR", "COMMENT"]);
        for draft in drafts {
            let change = match draft.change {
                Some(config_draft::Change::Put(_)) => "put",
                _ => "delete",
            };
            table.row([
                draft.key,
                change.into(),
                draft.base_version.to_string(),
                draft.author,
                draft.comment,
            ]);
        }
        table.print("no drafts")?;
        Ok(Exit::Ok)
    }
}

// === impl Discard ===

impl Discard {
    async fn run(self) -> Outcome {
        let configs = self.connection.client()?.config();
        let discarded = configs.discard_draft(&self.key).await?;
        if self.connection.is_json() {
            output::json(&json!({"key": self.key, "discarded": discarded}))?;
        } else if discarded {
            output::line(&format!("draft of {} discarded", self.key))?;
        } else {
            output::note(&format!("no draft of {}", self.key))?;
        }
        Ok(match discarded {
            true => Exit::Ok,
            false => Exit::NotFound,
        })
    }
}

fn for_programs(draft: &ConfigDraft, with_content: bool) -> Value {
    let mut value = json!({
        "namespace": draft.namespace,
        "key": draft.key,
        "delete": matches!(draft.change, Some(config_draft::Change::Delete(_))),
        "base_version": draft.base_version,
        "author": draft.author,
        "comment": draft.comment,
        "update_time": output::time(draft.update_time),
        "revision": draft.revision,
    });
    if let Some(config_draft::Change::Put(put)) = &draft.change {
        value["content_type"] = show::content_type(put.content_type()).into();
        value["labels"] = json!(put.labels);
        value["description"] = put.description.clone().into();
        if with_content {
            show::add_content(&mut value, &put.content);
        }
    }
    value
}
