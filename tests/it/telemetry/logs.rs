//! Log lines.

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    process::Process,
    raw::{RawClient, framed},
};

/// A server that refuses a call, and ends; what it logged.
async fn log_of(arguments: &[&str]) -> String {
    let mut process = Process::serve(arguments).await;
    let mut client = RawClient::connect(process.address).await;
    let named = [("x-request-id", "mine-1")];
    let body = framed(&[0x0a, 0x7f]);
    let path = "/stanchion.v1.ConfigService/GetConfig";
    client.send(path, &named, body).await;
    process.signal(Signal::TERM);
    assert_eq!(process.end().await.code(), Some(0));
    process.log()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn away_from_a_terminal_every_line_is_an_object() {
    let log = log_of(&["--store=memory:"]).await;
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();
    for line in &lines {
        assert!(
            line["timestamp"].is_string() && line["message"].is_string(),
            "{line}"
        );
        // Nothing here is a fault of ours.
        assert!(line["level"] == "INFO", "{line}");
    }
    let find = |message: &str| {
        let found = lines.iter().find(|line| line["message"] == message);
        found.unwrap_or_else(|| panic!("{message} is not in {log}"))
    };
    let serving = find("serving");
    assert_eq!(serving["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(serving["store"], "memory:");
    let refused = find("a call was refused");
    assert_eq!(refused["method"], "stanchion.v1.ConfigService/GetConfig");
    assert_eq!(refused["code"], "INVALID_ARGUMENT");
    assert_eq!(refused["request_id"], "mine-1");
    find("draining");
    find("stopped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_is_for_people_and_the_level_is_theirs() {
    let log = log_of(&["--store=memory:", "--telemetry-log-format=text"]).await;
    assert!(log.contains(" INFO "), "{log}");
    assert!(log.contains("a call was refused"), "{log}");
    assert!(!log.contains('\u{1b}'), "colours in a file: {log}");

    let log = log_of(&["--store=memory:", "--telemetry-log=error"]).await;
    assert_eq!(log, "");
}
