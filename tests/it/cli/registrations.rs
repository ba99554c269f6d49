//! `stanchion register`, `instances`, `services`, `sessions`, `deregister`.

use std::time::Duration;

use super::Shell;
use crate::support::server::{Backend, eventually};

const REGISTER: &str =
    "register web --address 10.0.0.1 --id a --port http=8080/http --ttl 2s --client-id one";

/// Health of the only instance of `web`; nothing if there is none.
async fn health(shell: &Shell) -> Option<String> {
    let list = shell.json("instances web --all").await;
    let instance = list["instances"].as_array().unwrap().first()?;
    Some(instance["health"].as_str().unwrap().to_owned())
}

async fn healthy(shell: &Shell) {
    eventually("a healthy instance", async || {
        (health(shell).await.as_deref() == Some("healthy")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_is_registered_while_it_runs_and_not_after_it() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    let command = [
        "sh",
        "-c",
        "echo $STANCHION_SERVICE/$STANCHION_INSTANCE_ID; cat; exit 7",
    ];
    let mut running = shell.start(REGISTER, &command);

    assert_eq!(running.line().await, "web/a");
    let list = shell.json("instances web").await;
    assert_eq!(list["instances"][0]["address"], "10.0.0.1");
    assert_eq!(list["instances"][0]["ports"][0]["port"], 8080);
    assert_eq!(list["instances"][0]["client_id"], "one");
    let services = shell.json("services").await;
    assert_eq!(services["services"][0]["serving_count"], 1);
    let sessions = shell.json("sessions --client-id one").await;
    assert_eq!(sessions["sessions"][0]["instance_count"], 1);

    running.close_input();
    assert_eq!(running.end().await.code(), Some(7));
    assert_eq!(health(&shell).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_registration_becomes_suspect_and_is_then_removed() {
    let backend = Backend::embedded().await;
    let mut settings = backend.settings();
    settings.domain.suspect_grace = Duration::from_secs(3);
    let server = backend.server_with(settings).await;
    let shell = Shell::at(server.address);
    let mut running = shell.start(REGISTER, &["cat"]);
    healthy(&shell).await;

    running.signal("KILL");
    running.end().await;
    eventually("suspicion", async || {
        (health(&shell).await.as_deref() == Some("suspect")).then_some(())
    })
    .await;
    // It was the only one, so the list says that it is protected rather than being empty.
    let serving = shell.json("instances web").await;
    assert_eq!(serving["protected"], true);
    assert_eq!(serving["instances"][0]["health"], "suspect");
    eventually("removal", async || {
        health(&shell).await.is_none().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_alone_ends_with_a_signal_and_is_deregistered() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    let mut running = shell.start_alone(REGISTER);
    healthy(&shell).await;

    running.signal("TERM");
    assert_eq!(running.end().await.code(), Some(0));
    assert_eq!(health(&shell).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_reach_the_command_after_the_instance_is_gone() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    let command = [
        "sh",
        "-c",
        "trap 'echo stopping; exit 9' TERM; echo ready; while :; do sleep 0.05; done",
    ];
    let mut running = shell.start(REGISTER, &command);
    assert_eq!(running.line().await, "ready");
    healthy(&shell).await;

    running.signal("TERM");
    assert_eq!(running.line().await, "stopping");
    assert_eq!(health(&shell).await, None);
    assert_eq!(running.end().await.code(), Some(9));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_dies_of_a_signal_exits_as_in_a_shell() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    let mut running = shell.start(REGISTER, &["sh", "-c", "kill -s KILL $$"]);
    assert_eq!(running.end().await.code(), Some(128 + 9));
    assert_eq!(health(&shell).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_an_operator_removed_ends_its_registration_for_good() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    let mut running = shell.start_alone(REGISTER);
    healthy(&shell).await;

    let removed = shell.json("deregister web/a").await;
    assert_eq!(removed["deregistered"], true);
    assert_eq!(running.end().await.code(), Some(5));
    assert_eq!(health(&shell).await, None);
}
