//! `stanchion elect`, `leader`, `elections`.

use super::Shell;
use crate::support::server::{Backend, eventually};

/// Prints its term, then runs until the input ends.
const LEAD: [&str; 3] = ["sh", "-c", "echo $STANCHION_TERM; cat"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_runs_while_it_leads_and_the_next_one_after_it() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    assert_eq!(shell.code("leader job").await, 3);
    let mut first = shell.start("elect job --proclaim 10.0.0.7:80 --candidate one", &LEAD);
    let term: i64 = first.line().await.parse().unwrap();

    assert_eq!(shell.code("elect job --try -- true").await, 4);
    assert_eq!(shell.code("elect job --wait 100ms -- true").await, 124);
    assert_eq!(shell.text("leader job --proclaimed").await, "10.0.0.7:80");
    let listed = shell.json("elections").await;
    assert_eq!(listed["elections"][0]["election"], "job");
    assert_eq!(listed["elections"][0]["leader"]["candidate"], "one");
    let mut watching = shell.start_alone("leader job --watch");
    assert_eq!(
        watching.line().await,
        format!("one leads in term {term}: 10.0.0.7:80")
    );

    let mut second = shell.start("elect job --candidate two", &LEAD);
    eventually("the second among the candidates", async || {
        let shown = shell.json("leader job").await;
        (shown["candidate_count"] == 1).then_some(())
    })
    .await;
    first.close_input();
    assert_eq!(first.end().await.code(), Some(0));
    let next: i64 = second.line().await.parse().unwrap();
    assert!(next > term);
    assert_eq!(watching.line().await, format!("two leads in term {next}"));
    second.close_input();
    second.end().await;
    assert_eq!(watching.line().await, "nobody leads");
    watching.signal("TERM");
    watching.end().await;
    let listed = shell.json("elections").await;
    assert_eq!(listed["elections"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_writes_only_while_it_leads() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    let put = format!(
        "{} config put a 1 --led job && echo $STANCHION_FENCING_TOKEN; cat",
        env!("CARGO_BIN_EXE_stanchion")
    );
    let mut running = shell.start("elect job", &["sh", "-c", &put]);
    assert!(running.line().await.contains("version 1"));
    let term = running.line().await;
    running.close_input();
    assert_eq!(running.end().await.code(), Some(0));

    let late = format!("config put a 2 --led job={term}");
    assert_eq!(shell.code(&late).await, 4);
    assert_eq!(shell.text("config get a").await, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_is_stopped_when_its_lead_is_lost() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    let command = ["sh", "-c", "trap '' TERM; echo $$; cat"];
    let mut running = shell.start("elect job --ttl 2s --kill-after 100ms", &command);
    let pid = running.line().await;
    server.stop().await;

    assert_eq!(running.end().await.code(), Some(5));
    assert!(!std::path::Path::new("/proc").join(pid).exists());
}
