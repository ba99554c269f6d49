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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_configs_are_changed_at_once_or_not_at_all() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    let done = "config commit --expect shop/stock=0 --put shop/stock=7 --put shop/sold=0";
    let answer = shell.json(done).await;
    assert_eq!(
        (&answer["committed"], &answer["results"][1]["version"]),
        (&true.into(), &1.into())
    );
    assert_eq!(shell.code(done).await, 4);
    let file = tempfile::NamedTempFile::new().unwrap();
    let changes = r#"[{"key": "shop/stock", "content": "6", "expected_version": 1},
                      {"key": "shop/sold", "delete": true}]"#;
    std::fs::write(file.path(), changes).unwrap();
    let commit = format!("config commit --file {}", file.path().display());
    shell.json(&format!("{commit} --validate-only")).await;
    assert_eq!(shell.text("config get shop/stock").await, "7");
    shell.text(&commit).await;
    assert_eq!(shell.text("config get shop/stock").await, "6");
    assert_eq!(shell.code("config get shop/sold").await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drafts_are_released_and_a_release_is_rolled_back() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    shell.text("config put shop/limit 100").await;
    shell.text("config draft put shop/limit 200 -m sale").await;
    shell.text("config draft put shop/banner sale").await;
    assert_eq!(shell.text("config draft get shop/limit").await, "200");
    assert_eq!(shell.text("config get shop/limit").await, "100");
    let drafts = shell.json("config draft list shop/").await;
    assert_eq!(drafts["drafts"][1]["base_version"], 1);
    let release = shell
        .json("config release publish sale-1 --drafts -m summer")
        .await;
    assert_eq!(release["item_count"], 2);
    assert_eq!(shell.text("config get shop/limit").await, "200");
    assert_eq!(shell.code("config draft get shop/limit").await, 3);
    assert_eq!(shell.code("config draft discard shop/limit").await, 3);
    assert_eq!(shell.json("config release show sale-1").await, release);
    // What a draft says of a config is all there is of it.
    shell
        .text("config draft put shop/limits {} --type json --label tier=gold --description d")
        .await;
    let twice = shell.code("config release publish typed --drafts --put shop/limits=1");
    assert_eq!(twice.await, 2);
    shell
        .text("config release publish typed --drafts --expect shop/limits=0")
        .await;
    let config = shell.json("config get shop/limits").await;
    assert_eq!(config["content_type"], "json");
    assert_eq!(config["labels"]["tier"], "gold");
    assert_eq!(config["description"], "d");
    // Whoever made a draft of what others have changed since is told.
    shell.text("config draft put shop/banner again").await;
    shell.text("config put shop/banner other").await;
    assert_eq!(
        shell.code("config release publish sale-2 --drafts").await,
        4
    );
    assert_eq!(shell.code("config release rollback sale-1").await, 4);
    shell
        .text("config release publish sale-2 --drafts --force")
        .await;
    shell
        .text("config release rollback sale-1 --force --as sale-off")
        .await;
    assert_eq!(shell.text("config get shop/limit").await, "100");
    assert_eq!(shell.code("config get shop/banner").await, 3);
    let releases = shell.json("config release list").await;
    assert_eq!(releases["releases"][0]["name"], "sale-off");
    assert_eq!(releases["releases"][0]["rollback_of"], "sale-1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_goes_round_and_refuses_what_breaks_it() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("schema.json");
    std::fs::write(&file, r#"{"type": "integer"}"#).unwrap();

    let put = format!("config schema put shop/* {}", file.display());
    assert_eq!(shell.json(&put).await["schema"]["keys"], "shop/*");
    assert_eq!(shell.json(&put).await["unchanged"], true);
    assert_eq!(shell.code("config put shop/limit one --type json").await, 2);
    let refused = shell.run("config put shop/limit null --type json").await;
    assert_eq!(refused.status.code(), Some(1));
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.contains("(schema shop/*)"), "{told}");
    shell.text("config put shop/limit 1 --type json").await;

    let list = shell.json("config schema list --covering shop/limit").await;
    assert_eq!(list["schemas"][0]["schema"], r#"{"type": "integer"}"#);
    let schema = shell.text("config schema get shop/*").await;
    assert_eq!(schema.trim_end(), r#"{"type": "integer"}"#);
    shell.text("config schema delete shop/*").await;
    assert_eq!(shell.code("config schema delete shop/*").await, 3);
    assert_eq!(shell.code("config schema get shop/*").await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_is_pinned_and_unpinned() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    shell.text("config put shop/limit 100").await;
    shell.text("config put shop/limit 200").await;
    let pin = shell.json("config pin shop/limit 1 -m audited").await;
    assert_eq!(
        (&pin["version"], &pin["comment"]),
        (&1.into(), &"audited".into())
    );
    let again = shell.text("config pin shop/limit 1").await;
    assert_eq!(again.trim_end(), "shop/limit version 1 pinned, unchanged");
    let history = shell.json("config history shop/limit").await;
    let pinned = [0, 1].map(|at| history["versions"][at]["pinned"].clone());
    assert_eq!(pinned, [false, true].map(serde_json::Value::from));
    assert_eq!(shell.code("config pin shop/limit 3").await, 3);
    shell.text("config unpin shop/limit 1").await;
    assert_eq!(shell.code("config unpin shop/limit 1").await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configs_are_read_together_once_they_change_and_as_they_were() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    let first = shell.json("config put shop/limit 100").await;
    shell.text("config put shop/banner hello").await;
    let both = shell.text("config get shop/limit shop/banner").await;
    assert_eq!(
        both,
        "==> shop/banner <==\nhello\n==> shop/limit <==\n100\n"
    );
    let output = shell.run("config get shop/limit shop/none -o json").await;
    assert_eq!(output.status.code(), Some(3));
    let some: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(some["configs"][0]["content"], "100");
    assert_eq!(some["missing"][0], "shop/none");
    assert_eq!(shell.code("config get a b --wait 1s").await, 2);

    let output = shell.run("config get shop/limit --wait 50ms").await;
    assert_eq!(output.status.code(), Some(124));
    assert_eq!(output.stdout, b"100");
    let known = shell
        .text("config get shop/limit --wait 50s --after 0")
        .await;
    assert_eq!(known, "100");
    let mut wait = shell
        .command("config get shop/limit --wait 50s --after 1")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    shell.text("config put shop/limit 200").await;
    let mut lines = BufReader::new(wait.stdout.take().unwrap()).lines();
    let line = ended("a line", lines.next_line()).await.unwrap();
    assert_eq!(line.as_deref(), Some("200"));
    assert!(ended("the wait", wait.wait()).await.unwrap().success());

    shell.text("config delete shop/limit").await;
    let revision = &first["config"]["revision"];
    let then = format!("config at shop/limit --revision {revision}");
    assert_eq!(shell.text(&then).await, "100");
    assert_eq!(shell.code("config at shop/limit --time 0s").await, 3);
    assert_eq!(shell.code("config at shop/limit --time 1h").await, 3);
    assert_eq!(shell.code("config at shop/limit").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changed_in_a_config_is_shown_and_who_changed_it() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("limits.json");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    let put = format!(
        "config put shop/limits --type json --file {} -m",
        file.display()
    );
    write("{\n  \"max\": 1\n}\n");
    shell.text(&format!("{put} first")).await;
    write("{\n  \"max\": 2\n}\n");
    shell.text(&format!("{put} second")).await;

    let unified = "--- shop/limits version 1\n+++ shop/limits version 2\n\
                   @@ -1,3 +1,3 @@\n {\n-  \"max\": 1\n+  \"max\": 2\n }\n";
    for diff in ["", " 1", " 1 2"] {
        let shown = shell.text(&format!("config diff shop/limits{diff}")).await;
        assert_eq!(shown, unified);
    }
    let diff = shell.json("config diff shop/limits").await;
    assert_eq!(diff["from"]["comment"], "first");
    assert_eq!(diff["patch"][0]["path"], "/max");
    let patch = shell.text("config diff shop/limits --patch").await;
    let patch: serde_json::Value = serde_json::from_str(&patch).unwrap();
    assert_eq!(patch, diff["patch"]);
    assert_eq!(shell.code("config diff shop/limits --exit-code").await, 7);
    let same = format!(
        "config diff shop/limits --file {} --exit-code",
        file.display()
    );
    assert_eq!(shell.text(&same).await, "");
    write("{\n  \"max\": 3\n}\n");
    assert_eq!(shell.code(&same).await, 7);
    assert_eq!(shell.code("config diff shop/none").await, 3);

    let blame = shell.json("config blame shop/limits").await;
    let lines: Vec<_> = blame["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| {
            (
                line["version"].as_i64().unwrap(),
                line["line"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(lines, [(1, "{"), (2, "  \"max\": 2"), (1, "}")]);
    assert_eq!(blame["lines"][1]["comment"], "second");
    let shown = shell.text("config blame shop/limits").await;
    assert!(
        shown.lines().nth(1).unwrap().ends_with("|   \"max\": 2"),
        "{shown}"
    );
    assert!(!shown.contains('\x1b'));
}
