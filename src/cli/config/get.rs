//! `config get`: one config, now or once it has changed; several; one as it was.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use serde_json::{Value, json};
use stanchion_client::{Code, Configs, proto::Config};

use super::show;
use crate::cli::{
    Outcome, connection::Connection, exit::Exit, failure::Failure, file, output, parse,
};

/// Print a config
///
/// Prints the content as it is, with a line end added only at a terminal; of several configs each
/// under its key.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  stanchion config get shop/limits > limits.json\n  \
                        stanchion config get shop/limits shop/banner\n  \
                        stanchion config get shop/limits --wait 1m\n  \
                        stanchion config get shop/limits --version 3\n  \
                        stanchion config get shop/limits --out /etc/shop/limits.json\n\n\
                        Exits 124 if --wait ends in vain, having printed the config as it is."
)]
pub(crate) struct Get {
    /// Keys of the configs
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,

    /// An earlier version of it
    #[arg(long)]
    version: Option<i64>,

    /// Prints it once it has changed, and waits for that at most so long
    #[arg(
        long,
        value_parser = parse::duration,
        value_name = "DURATION",
        conflicts_with = "version"
    )]
    wait: Option<Duration>,

    /// Version after which it counts as changed; 0 if there is none [default: as it is now]
    #[arg(long, value_name = "VERSION", requires = "wait")]
    after: Option<i64>,

    /// Writes the content into this file, as a whole: whoever reads it meanwhile sees the old one or
    /// the new. A new file is for its owner alone
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

// === impl Get ===

impl Get {
    pub(super) async fn run(self) -> Outcome {
        let configs = self.connection.client()?.config();
        let [key] = &self.keys[..] else {
            return self.several(&configs).await;
        };
        match (self.version, self.wait) {
            (Some(version), _) => {
                let version = configs.version(key, version).await?;
                self.tell(|| show::version(&version, true), &version.content)?;
            }
            (None, Some(wait)) => return self.changed(&configs, key, wait).await,
            (None, None) => {
                let config = configs.get(key).await?;
                self.tell(|| show::config(&config, true), &config.content)?;
            }
        }
        Ok(Exit::Ok)
    }

    async fn changed(&self, configs: &Configs, key: &str, wait: Duration) -> Outcome {
        let after = match self.after {
            Some(after) => after,
            None => match configs.get(key).await {
                Ok(config) => config.version,
                Err(error) if error.code() == Code::NotFound => 0,
                Err(error) => return Err(error.into()),
            },
        };
        let answer = configs.get_after(key, after, wait).await?;
        let config = answer.config.unwrap_or_default();
        self.tell(|| show::config(&config, true), &config.content)?;
        if answer.unchanged {
            output::note(&format!("{key} has not changed"))?;
            return Ok(Exit::TimedOut);
        }
        Ok(Exit::Ok)
    }

    async fn several(&self, configs: &Configs) -> Outcome {
        if self.version.is_some() || self.wait.is_some() || self.out.is_some() {
            return Err(Failure::usage(
                "--version, --wait and --out are for one config",
            ));
        }
        let answer = configs.get_several(&self.keys).await?;
        if self.connection.is_json() {
            let configs: Vec<_> = answer
                .configs
                .iter()
                .map(|config| show::config(config, true))
                .collect();
            output::json(&json!({ "configs": configs, "missing": answer.missing_keys }))?;
        } else {
            for config in &answer.configs {
                under_its_key(config)?;
            }
            for key in &answer.missing_keys {
                output::note(&format!("{key} does not exist"))?;
            }
        }
        Ok(match answer.missing_keys.is_empty() {
            true => Exit::Ok,
            false => Exit::NotFound,
        })
    }

    fn tell(&self, shown: impl FnOnce() -> Value, content: &[u8]) -> Result<(), Failure> {
        match &self.out {
            Some(path) => file::render(path, content),
            None if self.connection.is_json() => output::json(&shown()),
            None => output::content(content),
        }
    }
}

/// As `head` and `tail` print files.
fn under_its_key(config: &Config) -> Result<(), Failure> {
    output::line(&format!("==> {} <==", config.key))?;
    output::raw(&config.content)?;
    if !config.content.ends_with(b"\n") {
        output::line("")?;
    }
    Ok(())
}
