//! What `config watch` does at a change: writes a file, runs a command anew, signals it.

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf, time::Duration};

use clap::Args;
use rustix::process::Signal;
use stanchion_client::{
    Watch,
    proto::{Config, WatchConfigsRequest},
    watch::{Change, Update, UpdateKind},
};

use crate::cli::{
    Outcome,
    child::{Child, ChildEvent},
    exit::Exit,
    failure::Failure,
    file, output, parse,
    signals::{self, Signals},
};

#[derive(Debug, Args)]
pub(super) struct Reaction {
    /// Writes the content into this file, now and when it changes, as a whole: whoever reads it
    /// meanwhile sees the old one or the new. A new file is for its owner alone
    #[arg(long, value_name = "FILE", conflicts_with = "prefix")]
    out: Option<PathBuf>,

    /// Sends the command this signal when a content changes, instead of restarting it
    #[arg(long, value_parser = parse::signal, value_name = "SIGNAL", requires = "command")]
    signal: Option<Signal>,

    /// How long the command may take to end after TERM before it is started anew
    #[arg(long, value_parser = parse::duration, value_name = "DURATION", default_value = "5s")]
    kill_after: Duration,

    /// The command
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// The configs that are watched, by key.
type Configs = BTreeMap<String, Config>;

enum Event {
    Update(Box<Update<Config>>),
    Child(ChildEvent),
}

/// Who gets the signals: this process while there is no child.
enum Running {
    Nothing(Signals),
    Child(Child),
}

// === impl Reaction ===

impl Reaction {
    /// Whether there is anything to do.
    pub(super) fn is_some(&self) -> bool {
        self.out.is_some() || !self.command.is_empty()
    }

    /// Follows the watch until the command ends, or a signal comes.
    pub(super) async fn run(self, name: &str, mut watch: Watch<WatchConfigsRequest>) -> Outcome {
        let mut running = Running::Nothing(Signals::catch()?);
        let mut configs = Configs::new();
        // What the file and the command know.
        let mut known = BTreeMap::new();
        loop {
            let event = tokio::select! {
                event = running.event() => Event::Child(event?),
                update = watch.next() => Event::Update(Box::new(update?)),
            };
            match (event, &running) {
                (Event::Child(ChildEvent::Ended(status)), _) => return Ok(Exit::of_child(status)),
                (Event::Child(ChildEvent::Signal(signal)), Running::Child(child)) => {
                    child.forward(signal);
                }
                (Event::Child(ChildEvent::Signal(signal)), Running::Nothing(_)) => {
                    if signals::ends(signal) {
                        return Ok(Exit::of_signal(signal));
                    }
                }
                (Event::Update(update), _) => {
                    take(&mut configs, *update);
                    let now = contents(&configs);
                    if now.is_empty() || now == known {
                        continue;
                    }
                    match self.write(&configs) {
                        Ok(()) => {}
                        // What runs is not stopped for a full disk. It is tried again at the next
                        // sign of the watch.
                        Err(failure) if !known.is_empty() => {
                            output::note(&format!("stanchion: {failure}"))?;
                            continue;
                        }
                        Err(failure) => return Err(failure),
                    }
                    known = now;
                    if !self.command.is_empty() {
                        running = self.restart(name, running).await?;
                    }
                }
            }
        }
    }

    fn write(&self, configs: &Configs) -> Result<(), Failure> {
        match (&self.out, configs.values().next()) {
            (Some(path), Some(config)) => file::render(path, &config.content),
            _ => Ok(()),
        }
    }

    async fn restart(&self, name: &str, running: Running) -> Result<Running, Failure> {
        let mut environment = vec![("STANCHION_CONFIG", name.to_owned())];
        if let Some(path) = &self.out {
            environment.push(("STANCHION_CONFIG_FILE", path.display().to_string()));
        }
        let child = match running {
            Running::Nothing(signals) => Child::spawn(&self.command, environment, signals)?,
            Running::Child(child) => match self.signal {
                Some(signal) => {
                    child.tell(signal);
                    child
                }
                None => {
                    let patience = self.kill_after;
                    child.replace(&self.command, environment, patience).await?
                }
            },
        };
        Ok(Running::Child(child))
    }
}

// === impl Running ===

impl Running {
    async fn event(&mut self) -> Result<ChildEvent, Failure> {
        match self {
            Self::Nothing(signals) => Ok(ChildEvent::Signal(signals.next().await)),
            Self::Child(child) => child.event().await,
        }
    }
}

fn take(configs: &mut Configs, update: Update<Config>) {
    match update.kind {
        UpdateKind::Current => {}
        UpdateKind::Snapshot { items, .. } => {
            *configs = items
                .into_iter()
                .map(|config| (config.key.clone(), config))
                .collect();
        }
        UpdateKind::Delta { changes, .. } => {
            for change in changes {
                match change {
                    Change::Added(config) | Change::Modified(config) => {
                        configs.insert(config.key.clone(), config);
                    }
                    Change::Deleted(config, _) => {
                        configs.remove(&config.key);
                    }
                }
            }
        }
    }
}

/// What a program would notice: a new label is no reason to restart it.
fn contents(configs: &Configs) -> BTreeMap<String, String> {
    configs
        .values()
        .map(|config| (config.key.clone(), config.sha256.clone()))
        .collect()
}
