//! What has to be done so that a namespace says what some items say.

mod settle;

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use stanchion_client::{Configs, proto::Config};

use super::{Grounds, item::Item};
use crate::cli::{colour::Colours, exit::Exit, failure::Failure, output};

/// Which differences count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    /// Whether what is there and says something else is overwritten.
    pub(super) overwrite: bool,
    /// Whether what is there alone is deleted.
    pub(super) prune: bool,
}

/// Steps in the order of their keys.
#[derive(Debug)]
pub(super) struct Plan {
    steps: Vec<Step>,
    unchanged: usize,
}

#[derive(Debug)]
struct Step {
    key: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Create(Item),
    Update {
        item: Item,
        /// The version that it was compared with.
        version: i64,
        fields: Vec<&'static str>,
    },
    /// It says something else and may not be overwritten.
    Keep {
        fields: Vec<&'static str>,
    },
    Delete {
        version: i64,
    },
}

/// Whether and how a plan is carried out.
#[derive(Debug, Args)]
pub(super) struct Terms {
    /// Does it; without, only what would be done is told
    #[arg(short, long)]
    yes: bool,

    /// Only tells what would be done; the default
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,

    #[command(flatten)]
    grounds: Grounds,
}

// === impl Plan ===

impl Plan {
    /// Compares items with what there is; both without the prefix in their keys.
    pub(super) fn new(items: Vec<Item>, there: Vec<Config>, policy: Policy) -> Self {
        let mut there: BTreeMap<_, _> = there
            .into_iter()
            .map(|config| (config.key.clone(), config))
            .collect();
        let mut steps = Vec::new();
        let mut unchanged = 0;
        for item in items {
            let key = item.key.clone();
            let kind = match there.remove(&key) {
                None => Kind::Create(item),
                Some(config) => match differences(&item, &config) {
                    fields if fields.is_empty() => {
                        unchanged += 1;
                        continue;
                    }
                    fields if policy.overwrite => Kind::Update {
                        item,
                        version: config.version,
                        fields,
                    },
                    fields => Kind::Keep { fields },
                },
            };
            steps.push(Step { key, kind });
        }
        if policy.prune {
            steps.extend(there.into_iter().map(|(key, config)| Step {
                key,
                kind: Kind::Delete {
                    version: config.version,
                },
            }));
        }
        steps.sort_by(|a, b| a.key.cmp(&b.key));
        Self { steps, unchanged }
    }

    /// How a command ends that changes nothing.
    pub(super) fn exit(&self) -> Exit {
        match self.steps.is_empty() {
            true => Exit::Ok,
            false => Exit::Different,
        }
    }

    /// Tells what is to be done, or was.
    pub(super) fn show(&self, as_json: bool, applied: bool) -> Result<(), Failure> {
        if as_json {
            let changes: Vec<_> = self.steps.iter().map(Step::json).collect();
            return output::json(&json!({
                "changes": changes,
                "unchanged": self.unchanged,
                "applied": applied,
            }));
        }
        let colours = Colours::of_output();
        for step in &self.steps {
            output::line(&colours.change(&step.line()))?;
        }
        let count = |of: fn(&Kind) -> bool| self.steps.iter().filter(|step| of(&step.kind)).count();
        let kept = match count(|kind| matches!(kind, Kind::Keep { .. })) {
            0 => String::new(),
            kept => format!(", {kept} different and kept"),
        };
        let (create, change, delete) = match applied {
            true => ("created", "changed", "deleted"),
            false => ("to create", "to change", "to delete"),
        };
        output::note(&format!(
            "{} {create}, {} {change}, {} {delete}{kept}, {} as they are",
            count(|kind| matches!(kind, Kind::Create(_))),
            count(|kind| matches!(kind, Kind::Update { .. })),
            count(|kind| matches!(kind, Kind::Delete { .. })),
            self.unchanged
        ))
    }

    /// Tells the plan, and carries it out if that is what the terms say: each change only if the
    /// config is still as it was compared.
    pub(super) async fn settle(
        self,
        configs: &Configs,
        prefix: &str,
        terms: Terms,
        as_json: bool,
    ) -> Result<Exit, Failure> {
        if !terms.yes {
            self.show(as_json, false)?;
            if !self.steps.is_empty() {
                output::note("nothing was changed: --yes does it")?;
            }
            return Ok(self.exit());
        }
        settle::settle(&self.steps, configs, prefix, &terms).await?;
        self.show(as_json, true)?;
        let kept = self
            .steps
            .iter()
            .any(|step| matches!(step.kind, Kind::Keep { .. }));
        Ok(match kept {
            true => Exit::Different,
            false => Exit::Ok,
        })
    }
}

// === impl Step ===

impl Step {
    fn line(&self) -> String {
        let key = &self.key;
        match &self.kind {
            Kind::Create(item) => format!("+ {key} ({} bytes)", item.content.len()),
            Kind::Update { fields, .. } => format!("~ {key} ({})", fields.join(", ")),
            Kind::Keep { fields } => {
                format!(
                    "! {key} (other {}: kept, --overwrite replaces)",
                    fields.join(", ")
                )
            }
            Kind::Delete { version } => format!("- {key} (version {version})"),
        }
    }

    fn json(&self) -> Value {
        let (action, version, fields) = match &self.kind {
            Kind::Create(_) => ("create", None, None),
            Kind::Update {
                version, fields, ..
            } => ("update", Some(version), Some(fields)),
            Kind::Keep { fields } => ("keep", None, Some(fields)),
            Kind::Delete { version } => ("delete", Some(version), None),
        };
        json!({"key": self.key, "action": action, "version": version, "fields": fields})
    }
}

/// What an item says otherwise than a config, whose content need not be there.
fn differences(item: &Item, config: &Config) -> Vec<&'static str> {
    let mut fields = Vec::new();
    if hex(&Sha256::digest(&item.content)) != config.sha256 {
        fields.push("content");
    }
    if item.content_type != config.content_type() {
        fields.push("type");
    }
    if item.labels != config.labels {
        fields.push("labels");
    }
    if item.description != config.description {
        fields.push("description");
    }
    fields
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(key: &str, content: &'static str, version: i64) -> Config {
        let item = Item::new(key, content);
        Config {
            key: item.key,
            sha256: hex(&Sha256::digest(&item.content)),
            content_type: item.content_type.into(),
            version,
            ..Config::default()
        }
    }

    fn lines(policy: Policy) -> Vec<String> {
        let items = ["b", "c", "d"].map(|key| Item {
            description: if key == "c" { "new" } else { "" }.into(),
            ..Item::new(key, "1")
        });
        let there = vec![
            config("a", "1", 7),
            config("b", "1", 1),
            config("c", "0", 2),
        ];
        let plan = Plan::new(items.into(), there, policy);
        assert_eq!(plan.unchanged, 1);
        plan.steps.iter().map(Step::line).collect()
    }

    #[test]
    fn only_what_differs_is_changed_and_only_what_may_be() {
        let policy = |overwrite, prune| Policy { overwrite, prune };
        assert_eq!(
            lines(policy(true, true)),
            [
                "- a (version 7)",
                "~ c (content, description)",
                "+ d (1 bytes)"
            ]
        );
        assert_eq!(
            lines(policy(false, false)),
            [
                "! c (other content, description: kept, --overwrite replaces)",
                "+ d (1 bytes)"
            ]
        );
    }
}
