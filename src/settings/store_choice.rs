//! The one knob that chooses the store.

use std::{fmt, path::PathBuf, str::FromStr};

/// The root of the keys where none is named.
const DEFAULT_ROOT: &str = "stanchion";

/// Where the data is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd)]
pub enum StoreChoice {
    /// `memory:`: in this process, gone at exit.
    Memory,
    /// `file:DIR`: in this process, durable in that directory.
    File(PathBuf),
    /// `etcd://host:port,host:port/ROOT`: in an etcd cluster; `etcds://…` over TLS.
    Etcd {
        /// Over TLS.
        tls: bool,
        /// `host:port` of each member.
        endpoints: Vec<String>,
        /// Under which root the keys are; `stanchion` where none is named.
        root: String,
    },
}

// === impl StoreChoice ===

impl StoreChoice {
    /// Under which root the keys are.
    pub fn root(&self) -> &str {
        match self {
            Self::Memory | Self::File(_) => DEFAULT_ROOT,
            Self::Etcd { root, .. } => root,
        }
    }
}

impl FromStr for StoreChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "memory:" {
            return Ok(Self::Memory);
        }
        if let Some(dir) = text.strip_prefix("file:") {
            return match dir {
                "" => Err("names no directory: file:DIR".into()),
                dir => Ok(Self::File(dir.into())),
            };
        }
        let (tls, rest) = match text.split_once("://") {
            Some(("etcd", rest)) => (false, rest),
            Some(("etcds", rest)) => (true, rest),
            _ => {
                return Err(
                    "is none of memory:, file:DIR, etcd://host:port,host:port/ROOT, etcds://…"
                        .into(),
                );
            }
        };
        let (hosts, root) = rest.split_once('/').unwrap_or((rest, ""));
        let endpoints: Vec<String> = hosts
            .split(',')
            .map(|host| host.trim().to_owned())
            .collect();
        if !endpoints.iter().all(|endpoint| is_host_and_port(endpoint)) {
            return Err("needs host:port of each member".into());
        }
        let root = match root.trim_matches('/') {
            "" => DEFAULT_ROOT,
            root => root,
        };
        if root
            .split('/')
            .any(|part| part.is_empty() || part.contains(char::is_whitespace))
        {
            return Err("the root has an empty part or a space".into());
        }
        Ok(Self::Etcd {
            tls,
            endpoints,
            root: root.to_owned(),
        })
    }
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

impl fmt::Display for StoreChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::File(dir) => write!(f, "file:{}", dir.display()),
            Self::Etcd {
                tls,
                endpoints,
                root,
            } => {
                let scheme = if *tls { "etcds" } else { "etcd" };
                write!(f, "{scheme}://{}/{root}", endpoints.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_written_back() {
        for text in [
            "memory:",
            "file:data",
            "etcd://a:2379,b:2379/stanchion",
            "etcd://[::1]:2379/team/a",
            "etcds://a:2379,b:2379/stanchion",
        ] {
            assert_eq!(text.parse::<StoreChoice>().unwrap().to_string(), text);
        }
        assert_eq!(
            "etcd://a:2379".parse::<StoreChoice>().unwrap().root(),
            "stanchion"
        );
    }

    #[test]
    fn anything_else_is_refused_in_words() {
        for text in [
            "",
            "file:",
            "etcd://",
            "etcd://a",
            "etcd://a:port",
            "etcd://a:0",
            "etcd://a:1,",
            "redis://a:1",
            "etcds://a",
            "https://a:1",
            "etcd://a:1/x//y",
        ] {
            assert!(text.parse::<StoreChoice>().is_err(), "{text}");
        }
    }
}
