//! `stanchion register --check-…`, `health report`, `instances -o wide`.

use super::Shell;
use crate::support::server::{Backend, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_are_asked_for_at_registration_and_their_findings_are_shown() {
    let server = Backend::embedded().await.server().await;
    let shell = Shell::at(server.address);
    // Nobody listens there.
    let register = "register web --address 127.0.0.1 --id a --port admin=1 --check-http admin/healthz \
                    --check-tcp --check-interval 1s --check-failures 1";
    let mut running = shell.start(register, &["cat"]);
    let reason = eventually("the failure", async || {
        let table = shell.text("instances web --all -o wide").await;
        let row = table.lines().nth(1)?;
        row.contains("unhealthy").then(|| row.to_owned())
    })
    .await;
    assert!(
        reason.contains("tcp: no connection: refused")
            || reason.contains("http: no connection: refused"),
        "{reason}"
    );
    running.close_input();
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_is_told_with_its_reason() {
    let server = Backend::embedded().await.server().await;
    let shell = Shell::at(server.address);
    let mut running = shell.start("register web --address 10.0.0.1 --id a", &["cat"]);
    eventually("the registration", async || {
        let list = shell.json("instances web").await;
        (list["instances"].as_array()?.len() == 1).then_some(())
    })
    .await;
    let report = "health report web/a unhealthy --reason slow --for 1m --reporter gateway";
    assert_eq!(shell.text(report).await, "web/a is unhealthy\n");
    let table = shell.text("instances web --all -o wide").await;
    assert!(table.contains("gateway: slow"), "{table}");
    let report = "health report web/a healthy --reporter gateway";
    let told = shell.json(report).await;
    assert_eq!(told["health"], "healthy");
    // No such instance; no report; not like SERVICE/ID.
    assert_eq!(shell.code("health report web/b unhealthy").await, 3);
    assert_eq!(shell.code("health report web/a ill").await, 2);
    assert_eq!(shell.code("health report a unhealthy").await, 2);
    running.close_input();
    running.end().await;
}
