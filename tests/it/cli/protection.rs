//! `stanchion service release-brake`.

use std::time::Duration;

use super::Shell;
use crate::support::server::{Backend, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_brake_is_seen_and_released() {
    let backend = Backend::embedded().await;
    let mut settings = backend.settings();
    // Their sessions end at different times, and none may be removed before there is a brake.
    settings.domain.suspect_grace = Duration::from_secs(3);
    let server = backend.server_with(settings).await;
    let shell = Shell::at(server.address);
    let idle = shell.json("service release-brake web").await;
    assert_eq!(idle["released"], false);

    let mut running: Vec<_> = ["a", "b", "c", "d"]
        .map(|id| {
            let arguments = format!("register web --address 10.0.0.1 --id {id} --ttl 2s");
            shell.start_alone(&arguments)
        })
        .into();
    let services = async || shell.json("services web").await["services"][0].clone();
    eventually("four instances", async || {
        (services().await["serving_count"] == 4).then_some(())
    })
    .await;
    for command in &mut running {
        command.signal("KILL");
        command.end().await;
    }
    eventually("the brake", async || {
        (services().await["braked"] == true).then_some(())
    })
    .await;
    let released = shell.json("service release-brake web -m gone").await;
    assert_eq!(released["released"], true);
    eventually("the removals", async || {
        services().await.is_null().then_some(())
    })
    .await;
}
