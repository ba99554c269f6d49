//! A file by which an operator says what a config is, whatever the service says.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::place::place;
use crate::{
    error::Result,
    proto::{Config, ContentType},
};

/// The longest content a config can have.
const MAX_CONTENT: u64 = 1024 * 1024;

/// The failover file of one config.
#[derive(Debug, Clone)]
pub(super) struct Failover {
    path: PathBuf,
    key: String,
}

// === impl Failover ===

impl Failover {
    pub(super) fn new(directory: &Path, namespace: &str, key: &str) -> Result<Self> {
        Ok(Self {
            path: place(directory, namespace, key)?,
            key: key.into(),
        })
    }

    /// The config as the file has it, as version zero; nothing if there is none. `known` is what
    /// the config is written in as far as that is known; else its key says so.
    pub(super) fn read(&self, known: Option<ContentType>) -> io::Result<Option<Config>> {
        let file = match File::open(&self.path) {
            Err(error) if is_none(&error) => return Ok(None),
            file => file.map_err(|error| self.named(&error))?,
        };
        // A directory on the way to another key.
        if file
            .metadata()
            .map_err(|error| self.named(&error))?
            .is_dir()
        {
            return Ok(None);
        }
        let mut content = Vec::new();
        file.take(MAX_CONTENT + 1)
            .read_to_end(&mut content)
            .map_err(|error| self.named(&error))?;
        if content.len() as u64 > MAX_CONTENT {
            let error = format!("has more than {MAX_CONTENT} bytes");
            return Err(self.named(&io::Error::new(io::ErrorKind::InvalidData, error)));
        }
        Ok(Some(Config {
            key: self.key.clone(),
            content: content.into(),
            content_type: known.unwrap_or_else(|| self.suggested()).into(),
            ..Config::default()
        }))
    }

    fn suggested(&self) -> ContentType {
        match self
            .path
            .extension()
            .and_then(|extension| extension.to_str())
        {
            Some("json") => ContentType::Json,
            Some("yaml" | "yml") => ContentType::Yaml,
            Some("toml") => ContentType::Toml,
            _ => ContentType::Text,
        }
    }

    fn named(&self, error: &io::Error) -> io::Error {
        let text = format!("the failover file {}: {error}", self.path.display());
        io::Error::new(error.kind(), text)
    }
}

/// Whether an error says that there is no such file: nor can there be where a file is on the way to
/// it, or where no file can have the name.
fn is_none(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename
    )
}
