//! `config blame`: who wrote which line.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::json;
use stanchion_client::proto::{BlameConfigResponse, ConfigVersion};

use super::show;
use crate::cli::{
    Outcome, colour::Colours, connection::Connection, exit::Exit, failure::Failure, output,
};

/// Show which version brought each line of a config, when, and whose it is
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  stanchion config blame shop/limits\n  \
                        stanchion config blame shop/limits --version 5")]
pub(crate) struct Blame {
    /// Key of the config
    key: String,

    /// Version whose lines are shown [default: the current one]
    #[arg(long)]
    version: Option<i64>,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

// === impl Blame ===

impl Blame {
    pub(super) async fn run(self) -> Outcome {
        let configs = self.connection.client()?.config();
        let blame = configs
            .blame(&self.key, self.version.unwrap_or_default())
            .await?;
        match self.connection.is_json() {
            true => print_json(&blame)?,
            false => print(&blame)?,
        }
        Ok(Exit::Ok)
    }
}

/// The versions of the lines, one after the other.
fn of_lines(blame: &BlameConfigResponse) -> impl Iterator<Item = Option<&ConfigVersion>> {
    let versions: BTreeMap<_, _> = blame
        .versions
        .iter()
        .map(|version| (version.version, version))
        .collect();
    blame.lines.iter().flat_map(move |lines| {
        let version = versions.get(&lines.version).copied();
        std::iter::repeat_n(
            version,
            usize::try_from(lines.line_count).unwrap_or_default(),
        )
    })
}

fn text(blame: &BlameConfigResponse) -> String {
    let version = blame.version.as_ref();
    let content = version.map(|version| String::from_utf8_lossy(&version.content));
    content.unwrap_or_default().into_owned()
}

fn print(blame: &BlameConfigResponse) -> Result<(), Failure> {
    let colours = Colours::of_output();
    let widths = (
        width(blame.versions.iter().map(|v| v.version.to_string())),
        width(blame.versions.iter().map(|v| v.author.clone())),
    );
    let text = text(blame);
    let mut before = None;
    for (line, version) in text.split_terminator('\n').zip(of_lines(blame)) {
        let Some(version) = version else { continue };
        let said = format!(
            "{:>number$} {:author$} {} ",
            version.version,
            version.author,
            output::time(version.create_time),
            number = widths.0,
            author = widths.1,
        );
        // Who wrote the line above stays readable, and out of the way.
        let said = match before == Some(version.version) {
            true => colours.faint(&said),
            false => said.as_str().into(),
        };
        before = Some(version.version);
        output::line(&format!("{said}| {line}"))?;
    }
    if blame.cut_off {
        output::note("lines of the oldest version shown may be older: no earlier one was read")?;
    }
    Ok(())
}

fn width(texts: impl Iterator<Item = String>) -> usize {
    let lengths = texts.map(|text| text.chars().count());
    lengths.max().unwrap_or_default()
}

fn print_json(blame: &BlameConfigResponse) -> Result<(), Failure> {
    let text = text(blame);
    let lines: Vec<_> = text
        .split_terminator('\n')
        .zip(of_lines(blame))
        .map(|(line, version)| {
            json!({
                "version": version.map(|version| version.version),
                "author": version.map(|version| &version.author),
                "time": version.map(|version| output::time(version.create_time)),
                "comment": version.map(|version| &version.comment),
                "line": line,
            })
        })
        .collect();
    let version = blame.version.as_ref();
    output::json(&json!({
        "version": version.map(|version| show::version(version, false)),
        "lines": lines,
        "cut_off": blame.cut_off,
    }))
}
