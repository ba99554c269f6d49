//! Settings, as the binary reads, checks and prints them.

use std::io::Write as _;

use tempfile::NamedTempFile;

use crate::support::process::{command, ended, run};

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[tokio::test]
async fn printed_settings_can_be_read_again() {
    let printed = run(&[
        "--print-settings",
        "--store=etcd://a:2379,b:2379/team",
        "--session-default-ttl=30s",
        "--compaction-history=off",
        "--wait-for-store",
    ])
    .await;
    assert_eq!(printed.status.code(), Some(0), "{printed:?}");
    let text = String::from_utf8(printed.stdout).unwrap();
    for line in [
        "store = \"etcd://a:2379,b:2379/team\"",
        "default_ttl = \"30s\"",
        "history = \"off\"",
        "wait_for_store = true",
    ] {
        assert!(text.contains(line), "{text}");
    }
    let file = file(&text);
    let path = file.path().to_str().unwrap();
    let again = run(&["--print-settings", "--config", path]).await;
    assert_eq!(String::from_utf8(again.stdout).unwrap(), text);
}

#[tokio::test]
async fn flags_win_over_the_environment_and_that_over_the_file() {
    let file = file("[session]\ndefault_ttl = \"21s\"\nmin_ttl = \"11s\"\nmax_ttl = \"31s\"\n");
    let path = file.path().to_str().unwrap();
    let mut command = command(&["--print-settings", "--session-max-ttl=33s"]);
    command
        .env("STANCHION_CONFIG", path)
        .env("STANCHION_SESSION_DEFAULT_TTL", "22s")
        .env("STANCHION_SESSION_MAX_TTL", "32s");
    let printed = String::from_utf8(ended(command).await.stdout).unwrap();
    for line in [
        "min_ttl = \"11s\"",
        "default_ttl = \"22s\"",
        "max_ttl = \"33s\"",
    ] {
        assert!(printed.contains(line), "{line} is not in {printed}");
    }
}

#[tokio::test]
async fn good_settings_are_said_to_be_good_and_nothing_is_started() {
    let directory = tempfile::tempdir().unwrap();
    let store = format!("--store=file:{}/data", directory.path().display());
    let output = run(&["--check", &store]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn bad_settings_end_with_64_and_are_named() {
    let unknown = file("[session]\nno_such = 1\n");
    let unknown = format!("--config={}", unknown.path().display());
    let broken = file("store =\n");
    let broken = format!("--config={}", broken.path().display());
    for (argument, named) in [
        ("--session-min-ttl=1", "session.min_ttl"),
        ("--session-min-ttl=1ms", "session.min_ttl"),
        (
            "--session-min-ttl=10m",
            "session.min_ttl <= session.default_ttl",
        ),
        (
            "--latch-min-lifetime=48h",
            "latch.min_lifetime <= latch.default_lifetime",
        ),
        ("--cache-page=0", "cache.page"),
        ("--store=redis://x:1", "store"),
        ("--store=etcd://localhost", "store"),
        ("--store=etcd://localhost:port/x", "store"),
        ("--listen=localhost", "listen"),
        ("--listen=0.0.0.0:7650", "--insecure-i-know"),
        ("--telemetry-log=x=louder", "telemetry.log"),
        ("--telemetry-log-format=xml", "telemetry.log_format"),
        (
            "--telemetry-otlp-endpoint=localhost:4317",
            "telemetry.otlp_endpoint",
        ),
        ("--config=/no/such/file", "/no/such/file"),
        (&unknown, "session.no_such"),
        (&broken, "store"),
    ] {
        for arguments in [vec![argument], vec![argument, "--check"]] {
            let output = run(&arguments).await;
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(64), "{argument}: {said}");
            assert!(said.contains(named), "{argument}: {said}");
            assert!(output.stdout.is_empty());
        }
    }
    let mut command = command(&["--check"]);
    command.env("STANCHION_RPC_MAX_STREAMS", "many");
    let output = ended(command).await;
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("rpc.max_streams"), "{said}");
}

#[tokio::test]
async fn an_address_in_use_ends_with_64_and_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(&["--store=memory:", "--listen", &address]).await;
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&address), "{said}");
}
