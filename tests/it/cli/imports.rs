//! `stanchion config import`: what other systems exported.

use std::fs;

use super::Shell;
use crate::support::server::{Backend, on_both_stores};

on_both_stores! {
    an_export_of_another_system_is_added_and_overwrites_only_when_told,
}

/// What `consul kv export` writes: `shop/a` is 1, `shop/b` is 2.
const EXPORT: &str = r#"[{"key": "shop/", "flags": 0, "value": ""},
    {"key": "shop/a", "flags": 0, "value": "MQ=="}, {"key": "shop/b", "flags": 7, "value": "Mg=="}]"#;

async fn an_export_of_another_system_is_added_and_overwrites_only_when_told(backend: Backend) {
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("export.json");
    fs::write(&file, EXPORT).unwrap();
    let import = format!(
        "config import {} --from consul --strip shop/ --prefix new/shop",
        file.display()
    );
    shell.text("config put new/shop/a 0").await;
    shell.text("config put new/shop/c 0").await;

    assert_eq!(shell.code(&import).await, 7);
    assert_eq!(shell.code("config get new/shop/b").await, 3);
    // One was kept.
    assert_eq!(shell.code(&format!("{import} --yes")).await, 7);
    assert_eq!(shell.text("config get new/shop/a").await, "0");
    let added = shell.json("config get new/shop/b").await;
    assert_eq!(added["content"], "2");
    assert_eq!(added["labels"]["consul.flags"], "7");

    shell.text(&format!("{import} --yes --overwrite")).await;
    assert_eq!(shell.text("config get new/shop/a").await, "1");
    assert_eq!(shell.text("config get new/shop/c").await, "0");
    assert_eq!(shell.code(&import).await, 0);
}

#[tokio::test]
async fn what_cannot_be_imported_is_told_before_anything_is_done() {
    // Nobody is asked.
    let shell = Shell::at(([127, 0, 0, 1], 1).into());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("export");
    fs::write(&file, "a b=1\nok=2\n\\u00e4=3\n").unwrap();
    let import = format!("config import {}", file.display());
    for system in ["files", "etcd", "consul", "nacos"] {
        let import = format!("{import} --from {system}");
        assert_eq!(shell.code(&import).await, 2, "{system}");
    }
    let output = shell.run(&format!("{import} --from apollo")).await;
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("`ä` has 'ä'"), "{error}");
    let rest = format!("{import} --from apollo --skip-invalid");
    assert_eq!(shell.code(&rest).await, 69);
}
