//! `stanchion instances` and `services`: which ones, and what they say.

use std::time::Duration;

use stanchion::proto::store::RemovalCause as Removed;

use super::Shell;
use crate::{
    registry::put_tombstone,
    support::server::{Backend, eventually},
};

const REGISTER: &str = "register web --address 10.0.0.1 --id a --ttl 2s";

/// Waits until so many instances of `web` are listed.
async fn listed(shell: &Shell, count: usize) {
    eventually("the registrations", async || {
        let list = shell.json("instances web").await;
        (list["instances"].as_array().unwrap().len() == count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_chooses_what_is_listed_and_says_what_is_wrong_with_it() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    let _running = shell.start_alone(&format!("{REGISTER} --meta tier=gold"));
    listed(&shell, 1).await;

    let taken = shell
        .json("instances web --filter metadata.tier==gold")
        .await;
    assert_eq!(taken["instances"][0]["instance_id"], "a");
    let others = shell
        .json("instances web --filter metadata.tier!=gold")
        .await;
    assert_eq!(others["instances"], serde_json::json!([]));
    let refused = shell.run("instances web --filter metadata.tier=gold").await;
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("at byte 13"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn near_instances_are_listed_first() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    let other = REGISTER.replace("--id a", "--id b");
    let _here = shell.start_alone(&format!("{other} --region east --zone 1"));
    let _there = shell.start_alone(&format!("{REGISTER} --region east --zone 2"));
    listed(&shell, 2).await;

    let near = shell.json("instances web --near east/1").await;
    assert_eq!(near["instances"][0]["instance_id"], "b");
    assert_eq!(near["instances"][0]["locality_tier"], "zone");
    assert_eq!(near["instances"][1]["locality_tier"], "region");
    let table = shell.text("instances web --near 2 --failover 0.5").await;
    assert!(
        table.contains("2 (zone)") && !table.contains("elsewhere"),
        "{table}"
    );
    assert_eq!(shell.code("instances web --near /").await, 2);
    assert_eq!(shell.code("instances web --near 1 --failover 2").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removed_instances_are_listed_with_the_reason() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    put_tombstone(&server, "a", "x", Removed::Expired).await;

    let removed = shell.json("instances web --removed").await;
    assert_eq!(removed["instances"][0]["removal"]["cause"], "expired");
    assert_eq!(removed["instances"][0]["removal"]["detail"], "seen of a");
    let table = shell.text("instances web --removed").await;
    assert!(
        table.contains("CAUSE") && table.contains("expired"),
        "{table}"
    );
    assert_eq!(
        shell.json("instances web --all").await["instances"],
        serde_json::json!([])
    );
    assert_eq!(shell.code("instances web --removed --watch").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_say_what_of_them_does_not_work() {
    let backend = Backend::embedded().await;
    let mut settings = backend.settings();
    settings.domain.suspect_grace = Duration::from_secs(600);
    let server = backend.server_with(settings).await;
    let shell = Shell::at(server.address);
    let mut running = shell.start_alone(REGISTER);
    listed(&shell, 1).await;
    let services = shell.json("services").await;
    assert_eq!(services["services"][0]["suspect_count"], 0);
    assert_eq!(services["services"][0]["protected"], false);

    running.signal("KILL");
    running.end().await;
    eventually("protection", async || {
        let services = shell.json("services").await;
        (services["services"][0]["protected"] == true).then_some(())
    })
    .await;
    let table = shell.text("services").await;
    let row: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row, ["web", "1", "1", "1", "0", "yes", "no"]);
}
