//! `stanchion service`, `isolate`, `restore`, `overlay`, `namespace`, `namespaces`.

use serde_json::json;

use super::Shell;
use crate::support::server::Backend;

const REGISTER: &str = "register web --address 10.0.0.1 --id a --ttl 60s";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_is_set_shown_and_taken_back() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    assert_eq!(shell.code("service get web").await, 3);
    let put = "service put web --panic-threshold 50 --label team=shop --slow-start 30s";
    let set = shell.json(put).await;
    assert_eq!(set["settings"]["panic_threshold"], 50);
    assert_eq!(set["unchanged"], false);
    let got = shell.json("service get web").await;
    assert_eq!(got["settings"]["labels"], json!({"team": "shop"}));
    assert_eq!(got["settings"]["slow_start"], 30.0);
    assert!(
        shell
            .text("service get web")
            .await
            .contains("panic threshold")
    );
    let stale = "service put web --panic-threshold 10 --expected-revision 1";
    assert_eq!(shell.code(stale).await, 4);
    assert_eq!(shell.code("service put web --panic-threshold 101").await, 2);
    shell.text("service delete web").await;
    assert_eq!(shell.code("service delete web").await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alias_shows_the_instances_of_the_other_service() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    let mut running = shell.start(REGISTER, &["sh", "-c", "echo up; cat"]);
    assert_eq!(running.line().await, "up");
    shell.text("service put www --alias-of web").await;
    let list = shell.json("instances www").await;
    assert_eq!(list["instances"][0]["instance_id"], "a");
    assert_eq!(list["answered_by"], "default/web");
    running.close_input();
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_is_isolated_overlaid_and_restored() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    let mut running = shell.start(REGISTER, &["sh", "-c", "echo up; cat"]);
    assert_eq!(running.line().await, "up");
    let isolated = shell.json("isolate web/a --reason maintenance").await;
    assert_eq!(isolated["decision"]["comment"], "maintenance");
    assert_eq!(shell.json("instances web").await["instances"], json!([]));
    shell.text("restore web/a").await;
    shell.text("overlay web/a --weight 7 --set tier=slow").await;
    let shown = &shell.json("instances web").await["instances"][0];
    assert_eq!(
        (&shown["weight"], &shown["metadata"]),
        (&json!(7), &json!({"tier": "slow"}))
    );
    let cleared = shell.json("overlay web/a --clear").await;
    assert_eq!(cleared["decision"], json!(null));
    assert_eq!(shell.code("overlay web/a").await, 2);
    assert_eq!(shell.code("isolate web").await, 2);
    running.close_input();
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_are_set_listed_and_taken_back() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    let set = shell.json("namespace put shop --max-instances 0").await;
    assert_eq!(set["settings"]["max_instances"], 0);
    assert_eq!(
        shell
            .code("register web --address 10.0.0.1 -n shop -- true")
            .await,
        1
    );
    shell.text("config put limit 1 -n shop").await;
    let listed = shell.json("namespaces").await;
    assert_eq!(listed["namespaces"][0]["config_count"], 1);
    assert!(shell.text("namespaces").await.contains("0/0"));
    assert_eq!(shell.code("namespace delete shop").await, 1);
    shell.text("config delete limit -n shop").await;
    shell.text("namespace delete shop").await;
    assert_eq!(shell.code("namespace get shop").await, 3);
}
