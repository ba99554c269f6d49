//! Where settings come from.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::{KNOBS, Settings};

/// How a server ends, for `--help`.
const EXIT_CODES: &str = "Exit codes:
  0   told to stop by SIGTERM or SIGINT, and stopped
  64  bad settings, or an address that cannot be listened on
  69  the store cannot be used: not reached, not read, damaged, or in use by another process
  70  a fault of the server, or an embedded store that can no longer be written
  128 + signal  told to stop twice";

/// The arguments of `stanchion serve`.
#[derive(Debug, Clone)]
pub struct ServeArgs {
    /// The file to read.
    pub file: Option<PathBuf>,
    /// Only checks the settings.
    pub check: bool,
    /// Only prints them.
    pub print: bool,
    /// What flags and environment say, by key.
    given: Vec<(&'static str, String)>,
}

/// What is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A value does not parse or is out of range.
    #[error("{key} = {value:?}: {message}")]
    Value {
        /// The setting.
        key: &'static str,
        /// What it was set to.
        value: String,
        /// What is wrong with that.
        message: String,
    },
    /// The file sets what does not exist.
    #[error("{}: there is no setting {key:?}", file.display())]
    Unknown {
        /// The file.
        file: PathBuf,
        /// The key.
        key: String,
    },
    /// The file cannot be read.
    #[error("{}: {message}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        message: String,
    },
    /// Two settings do not fit together.
    #[error("these settings do not fit together: {0}")]
    Relation(String),
    /// What telemetry is told makes no sense to it.
    #[error("{0}")]
    Telemetry(String),
    /// The server would be open to the network.
    #[error(
        "{name} = \"{address}\" is open to the network, and there is no TLS and no authentication \
         yet: listen on a loopback address, or say --insecure-i-know"
    )]
    Exposed {
        /// The setting.
        name: &'static str,
        /// The address.
        address: SocketAddr,
    },
}

// === impl ServeArgs ===

impl ServeArgs {
    /// Reads and checks all settings.
    pub fn settings(&self) -> Result<Settings, SettingsError> {
        let mut settings = Settings::default();
        if let Some(file) = &self.file {
            let error = |message: String| SettingsError::File {
                file: file.clone(),
                message,
            };
            let text = std::fs::read_to_string(file).map_err(|e| error(e.to_string()))?;
            let table: toml::Table = text.parse().map_err(|e| error(format!("{e}")))?;
            for (key, value) in flatten("", &table) {
                let knob = KNOBS.iter().find(|knob| knob.key == key);
                let knob = knob.ok_or_else(|| SettingsError::Unknown {
                    file: file.clone(),
                    key,
                })?;
                knob.set(&mut settings, &value)?;
            }
        }
        for (key, value) in &self.given {
            if let Some(knob) = KNOBS.iter().find(|knob| knob.key == *key) {
                knob.set(&mut settings, value)?;
            }
        }
        settings.check()?;
        Ok(settings)
    }
}

impl Settings {
    /// All settings as a TOML file that sets them so.
    pub fn to_toml(&self) -> String {
        let defaults = Self::default();
        let mut text = String::new();
        let mut section = "";
        for knob in KNOBS {
            let (table, name) = knob.key.rsplit_once('.').unwrap_or(("", knob.key));
            if table != section {
                text += &format!("[{table}]\n");
                section = table;
            }
            let range = (knob.range)();
            let range = if range.is_empty() {
                range
            } else {
                format!(", {range}")
            };
            text += &format!(
                "# {}. Default {}{range}.\n{name} = {}\n\n",
                knob.doc,
                knob.toml(&defaults),
                knob.toml(self)
            );
        }
        text
    }
}

impl Args for ServeArgs {
    fn augment_args(command: Command) -> Command {
        let defaults = Settings::default();
        let command = command
            .arg(
                Arg::new("config")
                    .long("config")
                    .env("STANCHION_CONFIG")
                    .value_name("FILE")
                    .help("Reads settings from a TOML file; environment and flags win over it"),
            )
            .arg(
                Arg::new("check")
                    .long("check")
                    .action(ArgAction::SetTrue)
                    .help("Checks the settings and exits"),
            )
            .arg(
                Arg::new("print-settings")
                    .long("print-settings")
                    .action(ArgAction::SetTrue)
                    .help("Prints all settings as TOML and exits"),
            )
            .after_help(EXIT_CODES);
        KNOBS.iter().fold(command, |command, knob| {
            let default = knob.print(&defaults);
            let mut arg = Arg::new(knob.key)
                .long(knob.flag())
                .env(knob.variable())
                .value_name(knob.value_name)
                .help(format!("{} [default: {default}]", knob.doc));
            if let Some((section, _)) = knob.key.split_once('.') {
                arg = arg.help_heading(format!("Options: {section}"));
            }
            if default == "true" || default == "false" {
                // `--wait-for-store` alone means true.
                arg = arg.num_args(0..=1).default_missing_value("true");
            }
            command.arg(arg)
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ServeArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let text = |key: &str| matches.get_one::<String>(key).cloned();
        Ok(Self {
            file: text("config").map(PathBuf::from),
            check: matches.get_flag("check"),
            print: matches.get_flag("print-settings"),
            given: KNOBS
                .iter()
                .filter_map(|knob| Some((knob.key, text(knob.key)?)))
                .collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The leaves of a TOML table as dotted keys and text.
fn flatten(prefix: &str, table: &toml::Table) -> Vec<(String, String)> {
    table
        .iter()
        .flat_map(|(name, value)| {
            let key = format!("{prefix}{name}");
            match value {
                toml::Value::Table(table) => flatten(&format!("{key}."), table),
                toml::Value::String(text) => vec![(key, text.clone())],
                other => vec![(key, other.to_string())],
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn parse(args: &[&str]) -> ServeArgs {
        let command = ServeArgs::augment_args(Command::new("serve"));
        let matches = command.try_get_matches_from(args).unwrap();
        ServeArgs::from_arg_matches(&matches).unwrap()
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_the_defaults() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(
            file,
            "store = \"memory:\"\n[session]\ndefault_ttl = \"20s\"\nmax_keys = 7"
        )
        .unwrap();
        let path = file.path().to_str().unwrap();
        let settings = parse(&["serve", "--config", path, "--session-default-ttl", "30s"])
            .settings()
            .unwrap();
        assert_eq!(settings.store, super::super::StoreChoice::Memory);
        assert_eq!(settings.domain.default_ttl.as_secs(), 30);
        assert_eq!(settings.domain.max_session_keys, 7);
    }

    #[test]
    fn what_is_printed_can_be_read_again() {
        let mut settings = Settings::default();
        settings.domain.suspect_grace = std::time::Duration::from_millis(1500);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(settings.to_toml().as_bytes()).unwrap();
        let path = file.path().to_str().unwrap();
        let read = parse(&["serve", "--config", path]).settings().unwrap();
        assert_eq!(read.to_toml(), settings.to_toml());
    }

    #[test]
    fn unknown_keys_and_bad_values_are_named() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "[session]\nno_such = 1").unwrap();
        let path = file.path().to_str().unwrap();
        let error = parse(&["serve", "--config", path]).settings().unwrap_err();
        assert!(error.to_string().contains("session.no_such"), "{error}");
        let error = parse(&["serve", "--session-min-ttl", "1"])
            .settings()
            .unwrap_err();
        assert!(error.to_string().contains("session.min_ttl"), "{error}");
        let error = parse(&["serve", "--cache-page", "0"])
            .settings()
            .unwrap_err();
        assert!(error.to_string().contains("1 to 10000"), "{error}");
    }
}
