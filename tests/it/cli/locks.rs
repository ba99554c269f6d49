//! `stanchion lock`, `locks`.

use super::Shell;
use crate::support::server::{Backend, eventually};

/// Prints its token, then runs until the input ends.
pub(super) const HOLD: [&str; 3] = ["sh", "-c", "echo $STANCHION_FENCING_TOKEN; cat"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_under_a_lock_excludes_others_until_it_ends() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    let mut first = shell.start("lock job", &HOLD);
    let token: i64 = first.line().await.parse().unwrap();

    assert_eq!(shell.code("lock job --try -- true").await, 4);
    let waited = shell.run("lock job --wait 500ms -- true").await;
    assert_eq!(waited.status.code(), Some(124));
    let said = String::from_utf8(waited.stderr).unwrap();
    assert!(said.contains("waiting for lock job: 1 of 1"), "{said}");
    let locks = shell.json("locks").await;
    assert_eq!(locks["locks"][0]["lock"], "job");
    assert_eq!(locks["locks"][0]["holder"]["fencing_token"], token);

    let mut second = shell.start("lock job", &HOLD);
    eventually("the second in the queue", async || {
        let queue = shell.json("locks show job").await;
        (queue["waiter_count"] == 1).then_some(())
    })
    .await;
    first.close_input();
    assert_eq!(first.end().await.code(), Some(0));
    let next: i64 = second.line().await.parse().unwrap();
    assert!(next > token);
    second.close_input();
    second.end().await;
    let locks = shell.json("locks").await;
    assert_eq!(locks["locks"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_share_a_lock_or_its_permits() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    let mut first = shell.start("lock job --shared", &HOLD);
    first.line().await;
    assert_eq!(shell.code("lock job --shared --try -- true").await, 0);
    assert_eq!(shell.code("lock job --try -- true").await, 4);
    let mut heavy = shell.start("lock pool --permits 3 --weight 2", &HOLD);
    heavy.line().await;
    assert_eq!(shell.code("lock pool --permits 3 --try -- true").await, 0);
    let two = "lock pool --permits 3 --weight 2 --try -- true";
    assert_eq!(shell.code(two).await, 4);

    let locks = shell.json("locks").await;
    assert_eq!(locks["locks"][0]["holders"][0]["mode"], "shared");
    assert_eq!(locks["locks"][1]["holder"]["permits"]["count"], 2);
    assert!(shell.text("locks").await.contains("2 of 3"));
    assert!(shell.text("locks show job").await.contains("shared"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_writes_only_while_its_lock_is_held() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    let put = format!(
        "{} config put a 1 --guard job && echo $STANCHION_FENCING_TOKEN; cat",
        env!("CARGO_BIN_EXE_stanchion")
    );
    let mut running = shell.start("lock job", &["sh", "-c", &put]);
    assert!(running.line().await.contains("version 1"));
    let token = running.line().await;
    running.close_input();
    assert_eq!(running.end().await.code(), Some(0));

    let late = format!("config put a 2 --guard job={token}");
    assert_eq!(shell.code(&late).await, 4);
    assert_eq!(shell.text("config get a").await, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_is_stopped_when_its_lock_is_lost() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    // Deaf to TERM, so that it has to be killed, and with a child of its own.
    let command = ["sh", "-c", "trap '' TERM; echo $$; cat"];
    let mut running = shell.start("lock job --ttl 2s --kill-after 100ms", &command);
    let pid = running.line().await;
    // Nobody answers heartbeats any more.
    server.stop().await;

    assert_eq!(running.end().await.code(), Some(5));
    assert!(!std::path::Path::new("/proc").join(pid).exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_ends_the_wait_and_leaves_the_queue() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    let mut first = shell.start("lock job", &HOLD);
    first.line().await;
    let mut second = shell.start("lock job", &["true"]);
    eventually("the second in the queue", async || {
        let queue = shell.json("locks show job").await;
        (queue["waiter_count"] == 1).then_some(())
    })
    .await;

    second.signal("TERM");
    assert_eq!(second.end().await.code(), Some(128 + 15));
    let queue = shell.json("locks show job").await;
    assert_eq!(queue["waiter_count"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_is_asked_and_then_its_lock_is_taken() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    assert_eq!(shell.code("locks yield job").await, 3);
    assert_eq!(shell.code("locks release job --force -m gone").await, 3);
    assert_eq!(shell.code("locks deadlocks").await, 0);
    let mut holder = shell.start("lock job", &HOLD);
    let token: i64 = holder.line().await.parse().unwrap();

    let asked = shell.json("locks yield job -m please").await;
    assert_eq!(asked["requested"], true);
    assert_eq!(asked["fencing_token"], token);
    let again = shell.json("locks yield job -m please").await;
    assert_eq!(again["requested"], false);
    let shown = shell.json("locks show job").await;
    let claim = &shown["holder"];
    assert_eq!(claim["yield_request"]["comment"], "please");
    assert!(claim["address"].as_str().unwrap().starts_with("127.0.0.1:"));

    // It has to be meant.
    assert_eq!(shell.code("locks release job -m gone").await, 2);
    assert_eq!(shell.code("locks release job --force -m gone").await, 0);
    assert_eq!(holder.end().await.code(), Some(5));
    let locks = shell.json("locks").await;
    assert_eq!(locks["locks"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_holds_several_locks_or_none() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    let tokens = ["sh", "-c", "echo $STANCHION_FENCING_TOKENS; cat"];
    let mut first = shell.start("lock job --also db --lock-delay 10s", &tokens);
    let told = first.line().await;
    let locks = shell.json("locks").await;
    for (at, name) in ["db", "job"].into_iter().enumerate() {
        assert_eq!(locks["locks"][at]["lock"], name);
        let token = &locks["locks"][at]["holder"]["fencing_token"];
        assert!(told.contains(&format!("{name}={token}")), "{told}");
    }
    assert_eq!(shell.code("lock free --also db --try -- true").await, 4);
    let wait = "lock free --also db --wait 100ms -- true";
    assert_eq!(shell.code(wait).await, 124);
    assert_eq!(shell.code("lock a --also b --shared -- true").await, 2);
    assert_eq!(shell.code("lock a --lock-delay 2m -- true").await, 2);
    first.close_input();
    assert_eq!(first.end().await.code(), Some(0));
    assert_eq!(shell.code("lock free --also db --try -- true").await, 0);
    let left = shell.json("locks").await;
    assert_eq!(left["locks"], serde_json::json!([]));
}
