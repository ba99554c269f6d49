//! TLS and mutual TLS.

use std::path::Path;

use stanchion::settings::Settings;
use stanchion_client::proto::{
    Consistency, PutConfigRequest, config_service_client::ConfigServiceClient,
};
use tokio::time::timeout;

use super::{over_tls, put_again, saw_all, serve};
use crate::support::{
    etcd::{Etcd, Launch},
    pki::{Authority, Files},
    process::{Process, run},
    server::eventually,
    store::PATIENCE,
    traffic::{Session, get, put, watch},
};

/// An etcd that lets in only those with a certificate of `authority`.
async fn closed(authority: &Authority) -> Etcd {
    cluster(authority, 1).await
}

/// The same, of several members.
async fn cluster(authority: &Authority, size: usize) -> Etcd {
    let launch = Launch {
        tls: Some(Files::new(authority, &authority.issue())),
        ..Launch::of(size)
    };
    Etcd::launch(launch).await
}

fn with(files: &Files) -> impl FnOnce(&mut Settings) {
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (ca, certificate, key) = (
        text(&files.ca()),
        text(&files.certificate()),
        text(&files.key()),
    );
    move |settings| {
        over_tls(settings);
        settings.etcd.ca_file = ca;
        settings.etcd.cert_file = certificate;
        settings.etcd.key_file = key;
    }
}

fn store(etcd: &Etcd) -> String {
    format!("--store=etcds://{}/tls", etcd.endpoint())
}

fn ca(files: &Files) -> String {
    format!("--etcd-ca-file={}", files.ca().display())
}

fn certificate(files: &Files) -> String {
    format!("--etcd-cert-file={}", files.certificate().display())
}

fn key(files: &Files) -> String {
    format!("--etcd-key-file={}", files.key().display())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_goes_over_mutual_tls() {
    let authority = Authority::new();
    let etcd = closed(&authority).await;
    let files = Files::new(&authority, &authority.issue());
    let server = serve(&etcd, with(&files)).await;
    let watching = watch(&server, "last").await;
    let session = Session::open(&server).await;
    let written = put(&server, "last").await.unwrap();
    get(&server, "last", Consistency::Linearizable)
        .await
        .unwrap();
    assert_eq!(
        timeout(PATIENCE, watching).await.unwrap().unwrap(),
        [written]
    );
    session.lives_on(&server).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_certificates_of_a_new_authority_are_taken_up_without_a_restart() {
    let old = Authority::new();
    let mut etcd = cluster(&old, 3).await;
    let files = Files::new(&old, &old.issue());
    let server = serve(&etcd, with(&files)).await;
    let watching = watch(&server, "last").await;
    let session = Session::open(&server).await;
    let mut written = vec![put(&server, "before").await.unwrap()];

    let new = Authority::new();
    etcd.tls().replace(&new, &new.issue());
    files.replace(&new, &new.issue());
    for member in 0..3 {
        etcd.kill(member);
        etcd.restart(member).await;
    }
    written.push(put_again(&server).await);
    saw_all(watching, &server, written).await;
    session.lives_on(&server).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_cannot_be_used_leave_the_last_good_ones_in_use() {
    let authority = Authority::new();
    let mut etcd = closed(&authority).await;
    let files = Files::new(&authority, &authority.issue());
    let arguments = [store(&etcd), ca(&files), certificate(&files), key(&files)];
    let process = Process::serve(&arguments.each_ref().map(String::as_str)).await;
    let configs = ConfigServiceClient::new(process.channel().await);
    let expired = authority.issue_expired();
    let good = authority.issue();
    for (what, complaint) in [
        ("expired", "it has expired"),
        ("half of a pair", "certificate.pem and "),
        ("no certificate", "there is no certificate in it"),
        ("no file", "No such file"),
    ] {
        match what {
            "expired" => files.show(&expired),
            "half of a pair" => {
                files.show(&good);
                std::fs::write(files.key(), &expired.key).unwrap();
            }
            "no certificate" => files.trust("nothing"),
            _ => std::fs::remove_file(files.certificate()).unwrap(),
        }
        etcd.kill(0);
        etcd.restart(0).await;
        eventually("writes to succeed again", || async {
            let request = PutConfigRequest {
                key: what.replace(' ', "-"),
                ..PutConfigRequest::default()
            };
            configs.clone().put_config(request).await.ok()
        })
        .await;
        let log = process.log();
        let warned = log
            .lines()
            .any(|line| line.contains("cannot be used") && line.contains(complaint));
        assert!(warned, "{what}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_be_trusted_is_named_at_start() {
    let (authority, other) = (Authority::new(), Authority::new());
    let etcd = closed(&authority).await;
    let own = Files::new(&authority, &authority.issue());
    let foreign = Files::new(&authority, &other.issue());
    let expired = Files::new(&authority, &authority.issue_expired());
    let deceived = Files::new(&other, &authority.issue());
    let open = Etcd::start().await;
    for (arguments, words) in [
        // etcd refuses us.
        (vec![store(&etcd), ca(&own)], "CertificateRequired"),
        (
            vec![
                store(&etcd),
                ca(&foreign),
                certificate(&foreign),
                key(&foreign),
            ],
            "UnknownCA",
        ),
        // We refuse it, or our own.
        (
            vec![
                store(&etcd),
                ca(&deceived),
                certificate(&deceived),
                key(&deceived),
            ],
            "UnknownIssuer",
        ),
        (
            vec![
                store(&etcd),
                ca(&expired),
                certificate(&expired),
                key(&expired),
            ],
            "it has expired",
        ),
        (
            vec![
                store(&etcd),
                ca(&own),
                certificate(&own),
                key(&own),
                "--etcd-server-name=etcd.test".to_owned(),
            ],
            "not valid for name",
        ),
        (vec![store(&open), ca(&own)], "TLS"),
        (
            vec![store(&etcd), "--etcd-ca-file=/no/such/file".to_owned()],
            "/no/such/file",
        ),
    ] {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let output = run(&arguments).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(69), "{arguments:?}: {said}");
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_may_be_known_by_another_name_than_its_address() {
    let authority = Authority::new();
    let launch = Launch {
        tls: Some(Files::new(&authority, &authority.issue_for("etcd.test"))),
        ..Launch::of(1)
    };
    let etcd = Etcd::launch(launch).await;
    let files = Files::new(&authority, &authority.issue());
    let server = serve(&etcd, |settings| {
        with(&files)(settings);
        settings.etcd.server_name = "etcd.test".to_owned();
    })
    .await;
    put(&server, "a").await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn settings_that_do_not_fit_together_end_with_64() {
    for (arguments, named) in [
        (
            vec!["--store=etcd://a:1", "--etcd-ca-file=ca.pem"],
            "etcds://",
        ),
        (
            vec!["--store=etcd://a:1", "--etcd-server-name=etcd.test"],
            "etcds://",
        ),
        (vec!["--store=etcds://a:1"], "etcd.ca_file"),
        (
            vec![
                "--store=etcds://a:1",
                "--etcd-ca-file=ca.pem",
                "--etcd-cert-file=cert.pem",
            ],
            "etcd.key_file",
        ),
        (
            vec!["--store=etcd://a:1", "--etcd-user=stanchion"],
            "etcd.password_file",
        ),
    ] {
        let output = run(&arguments).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {said}");
        assert!(said.contains(named), "{arguments:?}: {said}");
    }
}
