//! `stanchion config export`, `plan`, `apply`: a namespace as a directory of files.

use std::{fs, path::Path};

use serde_json::Value;

use super::Shell;
use crate::support::server::{Backend, on_both_stores};

on_both_stores! {
    a_namespace_goes_through_files_into_another_one_with_all_it_says,
    only_what_differs_is_changed_and_only_with_a_yes,
    a_guard_that_does_not_hold_stops_it,
    what_is_too_much_for_one_transaction_is_applied_in_several,
}

/// What a namespace says, without versions and times.
async fn said(shell: &Shell, namespace: &str) -> Vec<Value> {
    let list = shell
        .json(&format!("config list --content -n {namespace}"))
        .await;
    let configs = list["configs"].as_array().unwrap();
    configs
        .iter()
        .map(|config| {
            let said = [
                "key",
                "content",
                "content_base64",
                "content_type",
                "labels",
                "description",
            ];
            said.map(|field| config[field].clone())
                .into_iter()
                .collect()
        })
        .collect()
}

async fn a_namespace_goes_through_files_into_another_one_with_all_it_says(backend: Backend) {
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("binary");
    fs::write(&binary, b"\xff\0\x01").unwrap();
    for put in [
        "db 1 --label a=b --label c=",
        "db/host 2 --type json --description where",
        "db/host.yaml 3 --type yaml",
        "db/host.yml 4",
        ".env 5 --type properties",
        ".git/HEAD a=6 --type toml",
        "a:b@c-d_e/x.xml 7 --type xml",
        "empty -",
        "x.json 8 --type text",
    ] {
        shell.text(&format!("config put -n one {put}")).await;
    }
    let file = format!("--file {}", binary.display());
    shell
        .text(&format!("config put -n one z --type binary {file}"))
        .await;
    shell
        .text(&format!("config put -n one z.txt --type binary {file}"))
        .await;

    let files = folder.path().join("files");
    let dir = files.display();
    shell.text(&format!("config export -n one {dir}")).await;
    let plan = shell.run(&format!("config plan -n two {dir}")).await;
    assert_eq!(plan.status.code(), Some(7), "{plan:?}");
    shell
        .text(&format!("config apply -n two {dir} --yes -m moved"))
        .await;
    assert_eq!(said(&shell, "one").await.len(), 11);
    assert_eq!(said(&shell, "two").await, said(&shell, "one").await);
    let there = shell.json("config get -n two db/host").await;
    assert_eq!(there["comment"], "moved");

    // All is said now, on both sides.
    for namespace in ["one", "two"] {
        let plan = format!("config plan -n {namespace} {dir} --prune");
        assert_eq!(shell.code(&plan).await, 0);
        let again = shell
            .json(&format!("config export -n {namespace} {dir}"))
            .await;
        assert_eq!(again["written"], serde_json::json!([]));
        assert_eq!(again["unchanged"], 11);
    }
}

async fn only_what_differs_is_changed_and_only_with_a_yes(backend: Backend) {
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().display();
    for key in ["shop/a", "shop/b", "shop/c", "other"] {
        shell.text(&format!("config put {key} 1")).await;
    }
    shell
        .text(&format!("config export {dir} --prefix shop"))
        .await;
    assert_eq!(names(folder.path()), ["a", "b", "c"]);
    fs::write(folder.path().join("a"), "2").unwrap();
    fs::remove_file(folder.path().join("b")).unwrap();
    fs::write(folder.path().join("d"), "1").unwrap();

    let apply = format!("config apply {dir} --prefix shop/ --prune");
    let plan = shell.run(&format!("{apply} -o json")).await;
    assert_eq!(plan.status.code(), Some(7));
    let plan: Value = serde_json::from_slice(&plan.stdout).unwrap();
    let steps: Vec<_> = plan["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| format!("{} {}", change["action"], change["key"]).replace('"', ""))
        .collect();
    assert_eq!(steps, ["update a", "delete b", "create d"]);
    assert_eq!(plan["unchanged"], 1);
    assert_eq!(shell.text("config get shop/a").await, "1");

    shell.text(&format!("{apply} --yes")).await;
    let keys: Vec<_> = shell.json("config list").await["configs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|config| format!("{} {}", config["key"], config["version"]).replace('"', ""))
        .collect();
    assert_eq!(keys, ["other 1", "shop/a 2", "shop/c 1", "shop/d 1"]);
    assert_eq!(shell.code(&apply).await, 0);
}

async fn a_guard_that_does_not_hold_stops_it(backend: Backend) {
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), "1").unwrap();
    let dir = folder.path().display();
    let apply = shell
        .run(&format!("config apply {dir} --yes --guard job=7"))
        .await;
    assert_eq!(apply.status.code(), Some(4));
    let error = String::from_utf8(apply.stderr).unwrap();
    assert!(error.contains("after 0 changes: "), "{error}");
    assert_eq!(shell.code("config get a").await, 3);
}

async fn what_is_too_much_for_one_transaction_is_applied_in_several(backend: Backend) {
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().display();
    for number in 0..150 {
        fs::write(folder.path().join(format!("a-{number:03}")), "1").unwrap();
    }
    // The server refuses a label without a name, in the second transaction; the first is not made.
    let sidecar = folder.path().join(".stanchion.toml");
    fs::write(&sidecar, "[a-149]\nlabels = { \"\" = \"1\" }").unwrap();
    let apply = format!("config apply {dir} --prune --yes");
    let output = shell.run(&apply).await;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("a-149, after 0 changes"), "{error}");
    assert!(said(&shell, "default").await.is_empty());

    fs::remove_file(&sidecar).unwrap();
    shell.text(&apply).await;
    let list = shell.json("config list").await;
    let revisions: std::collections::BTreeSet<_> = list["configs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|config| config["revision"].as_i64().unwrap())
        .collect();
    assert_eq!(said(&shell, "default").await.len(), 150);
    assert_eq!(revisions.len(), 2);
}

#[tokio::test]
async fn a_directory_that_is_not_there_or_not_of_configs_is_told() {
    let shell = Shell::at(([127, 0, 0, 1], 1).into());
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let plan = format!("config plan {}", missing.display());
    assert_eq!(shell.code(&plan).await, 2);
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
    let plan = shell
        .run(&format!("config plan {}", folder.path().display()))
        .await;
    assert_eq!(plan.status.code(), Some(2));
    let error = String::from_utf8(plan.stderr).unwrap();
    assert!(error.contains("link is a symbolic link"), "{error}");
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
