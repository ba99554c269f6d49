//! `config edit`: a config in an editor.

use std::{
    env, fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use clap::Args;
use stanchion_client::Code;

use super::{
    Grounds, change,
    item::{self, Item, Type},
    show,
};
use crate::cli::{
    Outcome, connection::Connection, exit::Exit, failure::Failure, file, output, signals::Signals,
};

/// Change a config in an editor
///
/// Runs $VISUAL, $EDITOR or vi, and writes what was saved if it differs, with the same type, labels
/// and description. If somebody else changed the config meanwhile this exits 4, changes nothing and
/// says where the edited text is. A config that does not exist begins empty.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  stanchion config edit shop/limits\n  \
                        EDITOR='code --wait' stanchion config edit shop/limits -m 'more'")]
pub(crate) struct Edit {
    /// Key of the config
    key: String,

    /// What the content is written in [default: as it is; if new, as the key ends]
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    content_type: Option<Type>,

    #[command(flatten)]
    grounds: Grounds,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// A file for one editing, in a directory of its own.
struct Draft {
    folder: PathBuf,
    path: PathBuf,
}

// === impl Edit ===

impl Edit {
    pub(super) async fn run(self) -> Outcome {
        let configs = self.connection.client()?.config();
        let (mut item, version) = match configs.get(&self.key).await {
            Ok(config) => {
                let version = config.version;
                (Item::from(config), version)
            }
            Err(error) if error.code() == Code::NotFound => (Item::new(&self.key, ""), 0),
            Err(error) => return Err(error.into()),
        };
        let former = item.content_type;
        item.content_type = self.content_type.map_or(former, Into::into);

        let draft = Draft::new(&item)?;
        let edited = draft.edit(&item.content).await?;
        if edited == item.content && item.content_type == former {
            draft.remove();
            output::note("unchanged")?;
            return Ok(Exit::Ok);
        }
        let put = configs
            .put(&self.key, edited)
            .content_type(item.content_type)
            .labels(item.labels)
            .description(item.description)
            .options(self.grounds.options(Some(version)));
        match put.send().await {
            Ok(answer) => {
                draft.remove();
                change::written(&self.connection, answer.config, answer.unchanged)
            }
            Err(error) => {
                let path = draft.path.display();
                output::note(&format!("the edited text is in {path}"))?;
                Err(error.into())
            }
        }
    }
}

// === impl Draft ===

impl Draft {
    fn new(item: &Item) -> Result<Self, Failure> {
        let folder = env::temp_dir().join(format!("stanchion-edit-{:016x}", rand::random::<u64>()));
        let path = folder.join(file_name(item));
        let made = fs::DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .and_then(|()| {
                fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(file::PRIVATE)
                    .open(&path)
            })
            .and_then(|mut file| file.write_all(&item.content));
        made.map_err(|error| file::unwritable(&path, &error))?;
        Ok(Self { folder, path })
    }

    /// Lets the user edit it; what is in it then.
    async fn edit(&self, before: &Bytes) -> Result<Bytes, Failure> {
        let editor = ["VISUAL", "EDITOR"]
            .into_iter()
            .filter_map(|name| env::var(name).ok())
            .find(|editor| !editor.trim().is_empty())
            .unwrap_or_else(|| "vi".to_owned());
        // Ctrl-C in the editor is not for us.
        let _signals = Signals::catch()?;
        // By a shell, as the variable may hold arguments too.
        let status = tokio::process::Command::new("sh")
            .arg("-c")
            .arg(format!("{editor} \"$@\""))
            .arg("sh")
            .arg(&self.path)
            .status()
            .await?;
        if !status.success() {
            self.remove();
            return Err(Failure::new(
                Exit::Failed,
                format!("nothing was written: the editor `{editor}` ended with {status}"),
            ));
        }
        let edited = read(&self.path)?;
        Ok(without_added_line_end(before, edited))
    }

    fn remove(&self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::debug!(%error, "a draft stays");
        }
    }
}

fn read(path: &Path) -> Result<Bytes, Failure> {
    fs::read(path).map(Bytes::from).map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("cannot read {}: {error}", path.display()),
        )
    })
}

/// Editors end the last line, also where the content was a bare word.
fn without_added_line_end(before: &Bytes, mut edited: Bytes) -> Bytes {
    let had_none = !before.is_empty() && !before.ends_with(b"\n");
    if had_none && edited.ends_with(b"\n") {
        edited.truncate(edited.len() - 1);
    }
    edited
}

/// A name by which an editor knows the language.
fn file_name(item: &Item) -> String {
    let name = item.key.rsplit('/').next().unwrap_or_default();
    // Keys may be longer than names of files.
    let start = name.len().saturating_sub(100);
    let name = format!("config-{}", &name[start..]);
    match item::guess(&name, &item.content) == item.content_type {
        true => name,
        false => format!("{name}.{}", show::content_type(item.content_type)),
    }
}

#[cfg(test)]
mod tests {
    use stanchion_client::proto::ContentType;

    use super::*;

    #[test]
    fn a_line_end_that_the_editor_added_is_taken_off() {
        let of = |before: &'static str, edited: &'static str| {
            without_added_line_end(&before.into(), edited.into())
        };
        assert_eq!(of("1", "2\n"), "2");
        assert_eq!(of("1\n", "2\n"), "2\n");
        assert_eq!(of("", "2\n"), "2\n");
    }

    #[test]
    fn the_name_of_the_file_tells_the_type() {
        let mut item = Item::new("shop/limits", "{}");
        assert_eq!(file_name(&item), "config-limits");
        item.content_type = ContentType::Json;
        assert_eq!(file_name(&item), "config-limits.json");
    }
}
