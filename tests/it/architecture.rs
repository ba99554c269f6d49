//! Who may name whom: the rooms of `src/`, read from the files.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// For each room what its files must not name. `store` is the port with both adapters.
const FORBIDDEN: &[(&str, &[&str])] = &[
    (
        "store",
        &[
            "crate::app",
            "crate::cache",
            "crate::cli",
            "crate::domain",
            "crate::proto",
            "crate::rpc",
            "crate::serve",
            "crate::settings",
            "stanchion_client",
        ],
    ),
    (
        "cache",
        &[
            "crate::app",
            "crate::http2",
            "crate::cli",
            "crate::domain",
            "crate::proto",
            "crate::rpc",
            "crate::serve",
            "crate::settings",
            "store::embedded",
            "store::etcd",
            "etcd_client",
            "tonic",
            "prost",
            "stanchion_client",
        ],
    ),
    (
        "domain",
        &[
            "crate::app",
            "crate::http2",
            "crate::cli",
            "crate::rpc",
            "crate::serve",
            "crate::settings",
            "store::embedded",
            "store::etcd",
            "etcd_client",
            "redb",
            "tonic",
            "stanchion_client",
        ],
    ),
    (
        "http2",
        &[
            "crate::app",
            "crate::cache",
            "crate::cli",
            "crate::domain",
            "crate::proto",
            "crate::rpc",
            "crate::serve",
            "crate::settings",
            "crate::store",
            "tonic",
            "etcd_client",
            "stanchion_client",
        ],
    ),
    (
        "checks",
        &[
            "crate::app",
            "crate::http2",
            "crate::cache",
            "crate::cli",
            "crate::proto",
            "crate::rpc",
            "crate::serve",
            "crate::settings",
            "crate::store",
            "etcd_client",
            "stanchion_client",
        ],
    ),
    (
        "rpc",
        &[
            "crate::app",
            "crate::cli",
            "crate::serve",
            "crate::settings",
            "crate::cache",
            "store::embedded",
            "store::etcd",
            "etcd_client",
            "proto::store",
        ],
    ),
    (
        "cli",
        &[
            "crate::app",
            "crate::cache",
            "crate::domain",
            "crate::rpc",
            "crate::store",
            "crate::proto",
        ],
    ),
];

/// Only the wiring may name an adapter and a handler; the settings name the knobs of both.
const OUTER: &[&str] = &[
    "app.rs",
    "lib.rs",
    "main.rs",
    "serve.rs",
    "metrics",
    "operations_http",
    "settings",
    "telemetry.rs",
    "clock.rs",
    "planted.rs",
    "proto.rs",
];

#[test]
fn no_room_names_one_it_must_not() {
    let mut faults = Vec::new();
    for (room, forbidden) in FORBIDDEN {
        for file in files(&src().join(room)) {
            let text = fs::read_to_string(&file).unwrap();
            for (number, line) in code(&text) {
                for name in *forbidden {
                    if names(line, name) {
                        faults.push(format!("{}:{number}: {line}", file.display()));
                    }
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn only_records_read_and_write_what_is_stored() {
    let mut faults = Vec::new();
    for file in files(&src()) {
        if file.starts_with(src().join("domain/records")) || file == src().join("proto.rs") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in code(&text) {
            if names(line, "proto::store") {
                faults.push(format!("{}:{number}: {line}", file.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_room_is_known_to_these_rules() {
    for entry in fs::read_dir(src()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let known = FORBIDDEN.iter().any(|(room, _)| *room == name) || OUTER.contains(&&*name);
        assert!(known, "src/{name} has no rule about what it may name");
    }
}

#[test]
fn the_rules_would_notice() {
    assert!(names("use crate::domain::Core;", "crate::domain"));
    assert!(names(
        "    crate::store::etcd::EtcdStore::connect()",
        "store::etcd"
    ));
    assert!(!names("use crate::store::Store;", "store::etcd"));
    assert!(!names("let tonics = 1;", "tonic"));
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The lines of a file that are code, without its unit tests, which may bring their own adapter.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(number, line)| (number + 1, line))
}

/// Says whether `line` names the path `name`, and not something that only begins or ends like it.
fn names(line: &str, name: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + name.len()..].chars().next();
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}
