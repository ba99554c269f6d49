//! `stanchion barrier`, `barriers`, `latch`.

use super::Shell;
use crate::support::server::{Backend, eventually};

/// Prints its place, then ends.
const TELL: [&str; 3] = [
    "sh",
    "-c",
    "echo $STANCHION_BARRIER_GENERATION $STANCHION_BARRIER_INDEX",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_run_once_all_are_there() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    let waiting = async |count: i32| {
        eventually("so many to wait", async || {
            let shown = shell.json("barriers show step").await;
            (shown["participant_count"] == count).then_some(shown)
        })
        .await
    };
    assert_eq!(shell.code("barrier step --parties 2 --try").await, 4);
    let in_vain = "barrier step --parties 2 --wait 200ms -- true";
    assert_eq!(shell.code(in_vain).await, 124);
    assert_eq!(shell.code("barrier step --parties 1").await, 2);

    let mut first = shell.start("barrier step --parties 2", &TELL);
    let shown = waiting(1).await;
    assert_eq!(shown["participants"][0]["parties"], 2);
    assert_eq!(shell.code("barrier step --parties 3 --try").await, 4);
    let listed = shell.json("barriers").await;
    assert_eq!(listed["barriers"][0]["barrier"], "step");
    assert!(shell.text("barriers").await.contains("step"));
    let second = shell.json("barrier step --parties 2").await;
    assert_eq!(second["index"], 1);
    let told = first.line().await;
    assert_eq!(told, format!("{} 0", second["generation"]));
    assert_eq!(first.end().await.code(), Some(0));
    let left = shell.json("barriers").await;
    assert_eq!(left["barriers"], serde_json::json!([]));
    let shown = shell.json("barriers show step").await;
    assert_eq!(shown["last_release"]["generation"], second["generation"]);

    // Who is stopped is not counted, and the command's exit code is passed on.
    let mut stopped = shell.start("barrier step --parties 2", &["true"]);
    waiting(1).await;
    stopped.signal("TERM");
    assert_eq!(stopped.end().await.code(), Some(128 + 15));
    waiting(0).await;
    let mut failing = shell.start("barrier step --parties 2", &["sh", "-c", "exit 7"]);
    waiting(1).await;
    assert_eq!(shell.code("barrier step --parties 2 -- true").await, 0);
    assert_eq!(failing.end().await.code(), Some(7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_latch_is_created_counted_down_awaited_and_deleted() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    assert_eq!(shell.code("latch await ready").await, 3);
    assert_eq!(shell.code("latch get ready").await, 3);
    let created = shell
        .json("latch create ready --count 2 --lifetime 1h")
        .await;
    assert_eq!(created["created"], true);
    assert_eq!(created["latch"]["lifetime_seconds"], 3600.0);
    let again = shell.json("latch create ready --count 2").await;
    assert_eq!(again["created"], false);
    assert_eq!(shell.code("latch create ready --count 3").await, 4);
    assert_eq!(shell.code("latch create other --count 0").await, 2);
    assert_eq!(shell.code("latch await ready --wait 100ms").await, 124);

    let mut waiting = shell.start_alone("latch await ready");
    let counted = shell.text("latch count-down ready a").await;
    assert!(counted.contains("waits for 1 more"), "{counted}");
    let counted = shell.json("latch count-down ready b").await;
    assert_eq!(
        (&counted["counted"], &counted["open"]),
        (&true.into(), &true.into())
    );
    assert_eq!(waiting.end().await.code(), Some(0));
    let shown = shell.json("latch get ready").await;
    assert_eq!(shown["arrivals"][1]["party"], "b");
    assert!(shell.text("latch get ready").await.contains('a'));
    let listed = shell.json("latch list").await;
    assert_eq!(listed["latches"][0]["remaining"], 0);
    assert_eq!(
        shell.code("latch count-down ready c --guard job=7").await,
        4
    );
    assert_eq!(shell.code("latch delete ready").await, 0);
    assert_eq!(shell.code("latch delete ready").await, 3);
}
