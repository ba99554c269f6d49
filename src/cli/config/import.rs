//! `config import`: what other systems exported, and directories, without overwriting.

mod apollo;
mod consul;
mod etcd;
mod nacos;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};

use super::{
    folder,
    item::{self, Item, MAX_CONTENT},
    plan::Policy,
    transfer::Scope,
};
use crate::cli::{Outcome, config::plan::Terms, connection::Connection, failure::Failure, output};

/// The largest export that is read: that many configs of usual size, and no machine's memory.
const MAX_EXPORT: u64 = 256 * 1024 * 1024;

/// Bring in configs from files or from another system
///
/// Tells what would be done, and does it with --yes. Adds what is not there; what is there and says
/// something else is kept, unless told --overwrite. Deletes nothing. Exits 7 if there is something to do
/// or if something was kept.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stanchion config import configs --yes
  etcdctl get --prefix /shop/ -w json | stanchion config import - --from etcd --strip /shop/
  consul kv export shop/ | stanchion config import - --from consul
  stanchion config import nacos_config_export.zip --from nacos --prefix nacos/ --yes
  stanchion config import application.properties --from apollo --prefix shop/

Sources:
  files   a directory as `config export` writes it
  etcd    etcdctl get --prefix … -w json. What hangs on a lease is left out: it is no configuration
  consul  consul kv export. Flags become the label consul.flags
  nacos   an export of a namespace. GROUP/DATAID is the key; the application becomes the label
          nacos.app, the description the description
  apollo  a namespace in the format properties. Each property becomes a config")]
pub(crate) struct Import {
    /// The export, or `-` for standard input
    source: PathBuf,

    /// What it is of
    #[arg(long, value_enum, default_value_t, value_name = "SYSTEM")]
    from: System,

    /// Takes this off the beginning of keys; those that do not begin so are left out
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    strip: String,

    /// Leaves out what cannot be a config here, instead of doing nothing
    #[arg(long)]
    skip_invalid: bool,

    /// Overwrites what is there and says something else
    #[arg(long)]
    overwrite: bool,

    #[command(flatten)]
    terms: Terms,

    #[command(flatten)]
    scope: Scope,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum System {
    #[default]
    Files,
    Etcd,
    Consul,
    Nacos,
    Apollo,
}

/// What an export holds. Its keys may be none here.
#[derive(Debug, Default)]
struct Harvest {
    items: Vec<Item>,
    /// What is no configuration, and why.
    left_out: Vec<String>,
}

// === impl Import ===

impl Import {
    pub(super) async fn run(self) -> Outcome {
        let items = self.items()?;
        let configs = self.connection.client()?.config();
        let policy = Policy {
            overwrite: self.overwrite,
            prune: false,
        };
        let plan = self.scope.plan(&configs, items, policy).await?;
        let (prefix, as_json) = (self.scope.prefix(), self.connection.is_json());
        plan.settle(&configs, &prefix, self.terms, as_json).await
    }

    fn items(&self) -> Result<Vec<Item>, Failure> {
        let harvest = match self.from {
            System::Files => Harvest {
                items: folder::read(&self.source)?,
                left_out: Vec::new(),
            },
            system => {
                let bytes = read(&self.source).map_err(|error| self.fault(error))?;
                let harvest = match system {
                    System::Files | System::Etcd => etcd::parse(&bytes),
                    System::Consul => consul::parse(&bytes),
                    System::Nacos => nacos::parse(&bytes),
                    System::Apollo => apollo::parse(&bytes),
                };
                harvest.map_err(|error| self.fault(error))?
            }
        };
        let Harvest { items, left_out } = harvest;
        for left_out in left_out {
            output::note(&format!("left out: {left_out}"))?;
        }
        let (items, odd) = usable(items, &self.strip);
        match self.skip_invalid {
            true => odd
                .iter()
                .try_for_each(|odd| output::note(&format!("left out: {odd}")))?,
            false if !odd.is_empty() => {
                let odd = odd.join("; ");
                return Err(self.fault(format!("{odd} (--skip-invalid leaves those out)")));
            }
            false => {}
        }
        Ok(items)
    }

    fn fault(&self, error: impl std::fmt::Display) -> Failure {
        Failure::usage(format!("cannot import {}: {error}", self.source.display()))
    }
}

/// Reads the export.
fn read(source: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if source == Path::new("-") {
        io::stdin().take(MAX_EXPORT + 1).read_to_end(&mut bytes)?;
    } else {
        File::open(source)?
            .take(MAX_EXPORT + 1)
            .read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > MAX_EXPORT {
        return Err(io::Error::other(format!(
            "has more than {MAX_EXPORT} bytes"
        )));
    }
    Ok(bytes)
}

/// The items that can be configs here, by key, and why the others cannot.
fn usable(items: Vec<Item>, strip: &str) -> (Vec<Item>, Vec<String>) {
    let mut usable = BTreeMap::new();
    let mut odd = Vec::new();
    for mut item in items {
        let Some(key) = item.key.strip_prefix(strip) else {
            continue;
        };
        // Other systems begin keys like paths.
        let key = key.trim_start_matches('/').to_owned();
        let size = item.content.len();
        if let Some(fault) = item::fault_of_key(&key) {
            odd.push(format!("`{}` {fault}", item.key));
        } else if size > MAX_CONTENT {
            odd.push(format!(
                "`{key}` has {size} bytes, more than a config may have ({MAX_CONTENT})"
            ));
        } else {
            match usable.entry(key) {
                Entry::Vacant(place) => {
                    item.key.clone_from(place.key());
                    place.insert(item);
                }
                Entry::Occupied(place) => {
                    let (of, key) = (item.key, place.key());
                    odd.push(format!("`{of}` becomes `{key}`, and another one too"));
                }
            }
        }
    }
    (usable.into_values().collect(), odd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_to_fit_and_what_does_not_is_said() {
        let items = ["/shop/a", "/shop//b", "/shop/a b", "/other/a", "/shop/b"];
        let mut items = items.map(|key| Item::new(key, "1")).to_vec();
        items.push(Item::new("/shop/large", vec![0; MAX_CONTENT + 1]));
        let (items, odd) = usable(items, "/shop/");
        let keys: Vec<_> = items.iter().map(|item| item.key.as_str()).collect();
        assert_eq!(keys, ["a", "b"]);
        assert_eq!(odd.len(), 3, "{odd:?}");
    }
}
