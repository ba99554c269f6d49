//! `stanchion config …`.

use tokio::io::{AsyncBufReadExt, BufReader};

use super::{Shell, ended};
use crate::support::server::Backend;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_config_goes_round_through_put_get_history_rollback_and_delete() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);

    shell.text("config put shop/limit 100 -m first").await;
    shell.text("config put shop/limit 200 --type json").await;
    assert_eq!(shell.text("config get shop/limit").await, "200");
    assert_eq!(shell.text("config get shop/limit --version 1").await, "100");
    let again = shell.json("config put shop/limit 200 --type json").await;
    assert_eq!(again["unchanged"], true);

    let rolled = shell.json("config rollback shop/limit --to 1").await;
    assert_eq!(rolled["config"]["version"], 3);
    assert_eq!(shell.text("config get shop/limit").await, "100");
    let history = shell.json("config history shop/limit").await;
    let versions: Vec<_> = history["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|version| (version["version"].as_i64().unwrap(), &version["operation"]))
        .collect();
    assert_eq!(
        versions,
        [
            (3, &"rollback".into()),
            (2, &"put".into()),
            (1, &"put".into())
        ]
    );
    assert_eq!(history["versions"][0]["rollback_of"], 1);
    assert_eq!(history["versions"][2]["comment"], "first");

    let list = shell.json("config list shop/").await;
    assert_eq!(list["configs"][0]["key"], "shop/limit");
    shell.text("config delete shop/limit").await;
    assert_eq!(shell.code("config get shop/limit").await, 3);
    assert_eq!(shell.code("config delete shop/limit").await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_followed_config_tells_every_change_on_a_line() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    let mut watch = shell
        .command("config watch --prefix shop/ -o json")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = async || -> serde_json::Value {
        let line = ended("a line", lines.next_line()).await.unwrap().unwrap();
        serde_json::from_str(&line).unwrap()
    };

    assert_eq!(next().await["type"], "snapshot");
    shell.text("config put shop/limit 1").await;
    let added = next().await;
    assert_eq!(added["type"], "added");
    assert_eq!(added["config"]["content"], "1");
    shell.text("config put shop/limit 2").await;
    assert_eq!(next().await["type"], "modified");
    shell.text("config delete shop/limit").await;
    assert_eq!(next().await["type"], "deleted");
}
