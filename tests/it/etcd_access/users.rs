//! A user at etcd: its password, its rights, and what happens when it is removed.

use std::time::{Duration, Instant};

use stanchion::settings::Settings;
use stanchion_client::proto::Consistency;
use tempfile::NamedTempFile;
use tokio::time::{sleep, timeout};
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use super::{open, over_tls, put_again, saw_all, serve};
use crate::support::{
    etcd::{Etcd, Launch, PASSWORD, USER},
    pki::{Authority, Files},
    process::run,
    server::{assert_status, eventually},
    store::PATIENCE,
    traffic::{Session, get, health, put, watch},
};

/// An etcd with users; one of them may do what it likes below the roots of the tests.
pub struct Guarded {
    pub etcd: Etcd,
    pub password: NamedTempFile,
}

// === impl Guarded ===

impl Guarded {
    pub async fn start(launch: Launch) -> Self {
        let mut etcd = Etcd::launch(launch).await;
        etcd.guard("/test-").await;
        let guarded = Self {
            etcd,
            password: NamedTempFile::new().unwrap(),
        };
        guarded.set_password(PASSWORD);
        guarded
    }

    /// What the replica finds in its file.
    pub fn set_password(&self, password: &str) {
        std::fs::write(self.password.path(), format!("{password}\n")).unwrap();
    }

    /// How often a member was asked for a token so far.
    pub fn tokens_asked(&self, member: usize) -> f64 {
        let label = r#"grpc_method="Authenticate""#;
        self.etcd
            .metric_at(member, "grpc_server_handled_total", label)
    }

    pub fn tokens_asked_of_all(&self) -> f64 {
        let members = 0..self.etcd.endpoints().len();
        members.map(|member| self.tokens_asked(member)).sum()
    }

    pub fn access(&self) -> impl FnOnce(&mut Settings) {
        let file = self.password.path().to_str().unwrap().to_owned();
        move |settings| {
            settings.etcd.user = USER.to_owned();
            settings.etcd.password_file = file;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_that_is_removed_stops_writes_until_it_is_back_and_nothing_is_lost() {
    let guarded = Guarded::start(Launch::of(3)).await;
    let server = serve(&guarded.etcd, guarded.access()).await;
    let watching = watch(&server, "last").await;
    let mut written = vec![put(&server, "before").await.unwrap()];

    guarded.etcd.remove_user().await;
    // At once: nothing waits for a way that there is not.
    for _ in 0..20 {
        let begun = Instant::now();
        let status = put(&server, "meanwhile").await.unwrap_err();
        assert_status(&status, Code::Unavailable, "STORE_UNAVAILABLE");
        assert!(status.message().contains("refuses access"), "{status:?}");
        assert!(begun.elapsed() < Duration::from_secs(2), "refused slowly");
    }
    let status = get(&server, "before", Consistency::Linearizable).await;
    assert_status(&status.unwrap_err(), Code::Unavailable, "STORE_UNAVAILABLE");
    get(&server, "before", Consistency::Cached).await.unwrap();
    eventually("writes to be reported as NOT_SERVING", || async {
        (health(&server, "/write").await == ServingStatus::NotServing).then_some(())
    })
    .await;
    assert_eq!(health(&server, "/read").await, ServingStatus::Serving);
    // All that asks goes through one who waits longer and longer.
    let before = guarded.tokens_asked_of_all();
    sleep(Duration::from_secs(3)).await;
    let times = guarded.tokens_asked_of_all() - before;
    assert!(times <= 30.0, "asked {times} times in 3 s");

    guarded.etcd.add_user().await;
    let begun = Instant::now();
    let again = put_again(&server).await;
    // Three times what it may take: the machine may be busy.
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(9), "it took {took:?}");
    written.push(again);
    eventually("writes to be reported as SERVING", || async {
        (health(&server, "/write").await == ServingStatus::Serving).then_some(())
    })
    .await;
    saw_all(watching, &server, written).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_that_is_removed_for_a_moment_costs_no_session() {
    let guarded = Guarded::start(Launch::of(3)).await;
    let server = serve(&guarded.etcd, guarded.access()).await;
    let session = Session::open(&server).await;
    guarded.etcd.remove_user().await;
    put(&server, "a").await.unwrap_err();
    sleep(Duration::from_secs(1)).await;
    guarded.etcd.add_user().await;
    session.lives_on(&server).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_password_is_read_from_the_file() {
    let guarded = Guarded::start(Launch::of(1)).await;
    let server = serve(&guarded.etcd, guarded.access()).await;
    let session = Session::open(&server).await;
    put(&server, "a").await.unwrap();
    guarded.set_password("new");
    // Which ends the tokens of the user.
    let mut root = guarded.etcd.client(0).await;
    root.user_change_password(USER, "new").await.unwrap();
    put(&server, "b").await.unwrap();
    session.lives_on(&server).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_may_get_its_users_while_we_are_there() {
    let etcd = Etcd::start().await;
    let password = NamedTempFile::new().unwrap();
    std::fs::write(password.path(), PASSWORD).unwrap();
    let server = serve(&etcd, |settings| {
        settings.etcd.user = "root".to_owned();
        settings.etcd.password_file = password.path().to_str().unwrap().to_owned();
    })
    .await;
    let watching = watch(&server, "last").await;
    put(&server, "a").await.unwrap();
    let mut client = etcd.client(0).await;
    client.role_add("root").await.unwrap();
    client.user_add("root", PASSWORD, None).await.unwrap();
    client.user_grant_role("root", "root").await.unwrap();
    client.auth_enable().await.unwrap();
    put(&server, "last").await.unwrap();
    assert_eq!(timeout(PATIENCE, watching).await.unwrap().unwrap().len(), 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_can_say_who_we_are_and_a_password_says_more() {
    let mut guarded = Guarded::start(Launch::of(1)).await;
    let authority = Authority::new();
    guarded.etcd.kill(0);
    guarded.etcd.launch.tls = Some(Files::new(&authority, &authority.issue()));
    guarded.etcd.restart(0).await;

    let with = |files: &Files, password: bool| {
        let files = [files.ca(), files.certificate(), files.key()];
        let [ca, certificate, key] = files.map(|path| path.to_str().unwrap().to_owned());
        let access = guarded.access();
        move |settings: &mut Settings| {
            over_tls(settings);
            settings.etcd.ca_file = ca;
            settings.etcd.cert_file = certificate;
            settings.etcd.key_file = key;
            if password {
                access(settings);
            }
        }
    };
    let known = Files::new(&authority, &authority.issue_to(USER));
    let server = serve(&guarded.etcd, with(&known, false)).await;
    put(&server, "a").await.unwrap();
    server.stop().await;

    let nobody = Files::new(&authority, &authority.issue_to("nobody"));
    let refused = open(&guarded.etcd, with(&nobody, false))
        .await
        .err()
        .unwrap();
    assert!(refused.to_string().contains("refuses access"), "{refused}");
    let server = serve(&guarded.etcd, with(&nobody, true)).await;
    put(&server, "a").await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_let_in_is_told_why_at_start() {
    let guarded = Guarded::start(Launch::of(1)).await;
    let store = format!("--store=etcd://{}/test-start", guarded.etcd.endpoint());
    let elsewhere = format!("--store=etcd://{}/other", guarded.etcd.endpoint());
    let wrong = NamedTempFile::new().unwrap();
    std::fs::write(wrong.path(), "wrong").unwrap();
    let right = format!("--etcd-password-file={}", guarded.password.path().display());
    let wrong = format!("--etcd-password-file={}", wrong.path().display());
    let user = format!("--etcd-user={USER}");
    for (arguments, words) in [
        (vec![store.as_str()], "user name is empty"),
        (vec![&store, &user, &wrong], "authentication failed"),
        (
            vec![&store, &user, "--etcd-password-file=/no/such/file"],
            "/no/such/file",
        ),
        (
            vec![&store, "--etcd-user=nobody", &right],
            "authentication failed",
        ),
        (vec![&elsewhere, &user, &right], "permission denied"),
    ] {
        let begun = Instant::now();
        let output = run(&arguments).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(69), "{arguments:?}: {said}");
        for words in ["the store refuses access", words, "etcd.password_file"] {
            assert!(said.contains(words), "{arguments:?}: {said}");
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{arguments:?}");
        assert!(!said.contains(PASSWORD));
    }
}

#[tokio::test]
async fn printed_settings_name_the_password_file_and_not_the_password() {
    let password = NamedTempFile::new().unwrap();
    std::fs::write(password.path(), PASSWORD).unwrap();
    let file = password.path().to_str().unwrap();
    let printed = run(&[
        "--print-settings",
        "--store=etcd://a:1",
        "--etcd-user=stanchion",
        &format!("--etcd-password-file={file}"),
    ])
    .await;
    let text = String::from_utf8(printed.stdout).unwrap();
    assert!(
        text.contains(&format!("password_file = {file:?}")),
        "{text}"
    );
    assert!(!text.contains(PASSWORD));
}
