//! Exit codes, and errors in one line.

use super::Shell;
use crate::support::server::Backend;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_failure_has_its_exit_code() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);

    assert_eq!(shell.code("no-such-command").await, 2);
    assert_eq!(shell.code("config put not//a/key 1").await, 2);
    assert_eq!(shell.code("config get nothing").await, 3);
    assert_eq!(shell.code("deregister web/nothing").await, 3);
    shell.text("config put a 1").await;
    assert_eq!(shell.code("config put a 2 --expected-version 7").await, 4);
    assert_eq!(shell.code("config put a 2 --guard job=7").await, 4);
    let no_such = "register web --address 10.0.0.1 -- /no/such/program";
    assert_eq!(shell.code(no_such).await, 127);
    assert_eq!(shell.code("lock job -- /").await, 126);
    assert_eq!(shell.code("lock job -- false").await, 1);
}

#[tokio::test]
async fn a_server_that_is_not_there_exits_69() {
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let shell = Shell::at(address);
    for command in [
        "services",
        "doctor",
        "config get a",
        "config release list",
        "config draft list",
        "config commit --put a=1",
        "lock job -- true",
        "locks deadlocks",
        "elect job -- true",
        "leader job",
        "barrier job --parties 2",
        "barriers",
        "latch await job",
        "audit list",
        "audit verify",
    ] {
        assert_eq!(shell.code(command).await, 69, "{command}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_is_one_line_with_code_reason_field_and_hint() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);

    let output = shell.run("config get nothing").await;
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("[NOT_FOUND CONFIG_NOT_FOUND]"), "{text}");
    assert!(text.contains("stanchion config list"), "{text}");

    let output = shell.run("config put not//a/key 1 -o json").await;
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["error"]["code"], "INVALID_ARGUMENT");
    assert_eq!(error["error"]["fields"][0], "key");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_finds_a_healthy_server_healthy() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);

    let found = shell.json("doctor").await;
    assert_eq!(found["ok"], true, "{found:#}");
    let checks: Vec<_> = found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["check"].as_str().unwrap())
        .collect();
    for check in ["server", "version", "store", "cache", "quorum"] {
        assert!(checks.contains(&check), "{checks:?} has no {check}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_json_with_a_named_array_even_when_empty() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);

    for (command, field) in [
        ("services", "services"),
        ("instances web", "instances"),
        ("config list", "configs"),
        ("config history a", "versions"),
        ("locks", "locks"),
        ("sessions", "sessions"),
        ("barriers", "barriers"),
        ("latch list", "latches"),
    ] {
        let answer = shell.json(command).await;
        assert_eq!(answer[field], serde_json::json!([]), "{command}");
    }
}

#[tokio::test]
async fn every_command_explains_itself_with_an_example() {
    let shell = Shell::at(([127, 0, 0, 1], 1).into());
    for command in [
        "doctor",
        "register",
        "instances",
        "services",
        "deregister",
        "config get",
        "config edit",
        "config export",
        "config import",
        "config plan",
        "config apply",
        "config put",
        "config list",
        "config watch",
        "config history",
        "config rollback",
        "config delete",
        "lock",
        "locks",
        "sessions",
        "barrier",
        "barriers",
        "latch create",
        "latch count-down",
        "latch await",
        "latch get",
        "latch list",
        "latch delete",
    ] {
        let help = shell.text(&format!("{command} --help")).await;
        assert!(help.contains("Example"), "{command} has no example");
        let example = format!("stanchion {command}");
        assert!(help.contains(&example), "no example of {command}: {help}");
    }
    let help = shell.text("--help").await;
    assert!(help.contains("Exit codes:"), "{help}");
    assert!(help.contains(" 69  "), "{help}");
}
