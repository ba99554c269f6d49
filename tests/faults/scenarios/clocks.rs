//! A time of day that jumps: it decides nothing, neither at clients nor at replicas.

use std::{process::Stdio, time::Duration};

use stanchion_client::{Client, Options, SessionOptions};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
    time::{Instant, sleep, timeout},
};

use crate::{
    harness::{WallClock, turn},
    load::TTL,
    support::{etcd::Etcd, process::Process, store::PATIENCE},
};

/// By how many seconds it jumps, each time from where it should be.
const JUMPS: [i64; 2] = [86_400, -3_600];
const PAUSE: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_kept_although_the_clock_of_its_holder_jumps() {
    let _turn = turn().await;
    let clock = WallClock::new();
    let etcd = Etcd::start().await;
    let server = Process::serve(&["--store", &store(&etcd)]).await;
    let other = client(&server);
    // Says the time whenever it is asked.
    let mut holder = Command::new(env!("CARGO_BIN_EXE_stanchion"))
        .args(["lock", "job", "--ttl", "5s", "--", "sh", "-c"])
        .arg("echo $STANCHION_FENCING_TOKEN; while read ask; do date +%s; done")
        .env("STANCHION_ENDPOINT", format!("http://{}", server.address))
        .envs(clock.environment())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut input = holder.stdin.take().unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    let mut line = async || {
        let line = timeout(PATIENCE, lines.next_line()).await.unwrap();
        line.unwrap().expect("the lock was lost")
    };
    let token = line().await;
    for seconds in JUMPS {
        clock.jump(seconds);
        sleep(TTL + TTL / 5).await;
        tokio::io::AsyncWriteExt::write_all(&mut input, b"?\n")
            .await
            .unwrap();
        let told: u64 = line().await.parse().unwrap();
        let wrong = told.cast_signed() - now();
        assert!(
            (wrong - seconds).abs() < 60,
            "its clock is wrong by {wrong} s"
        );
        let guarded = other.config().put("a", seconds.to_string());
        let options = stanchion_client::ChangeOptions {
            guard: Some(stanchion_client::proto::Guard {
                lock: "job".into(),
                fencing_token: token.parse().unwrap(),
                ..Default::default()
            }),
            ..Default::default()
        };
        guarded.options(options).send().await.unwrap();
    }
    drop(input);
    let ended = timeout(PATIENCE, holder.wait()).await.unwrap().unwrap();
    assert_eq!(ended.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_live_on_although_the_clock_of_their_replica_jumps() {
    let _turn = turn().await;
    let clock = WallClock::new();
    let etcd = Etcd::start().await;
    let environment = clock.environment();
    let environment = environment
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let mut server = Process::spawn_in(&["--store", &store(&etcd)], &environment);
    server.serves().await;
    let client = client(&server);
    let held = client.lock("job").acquire().await.unwrap();
    for seconds in JUMPS {
        clock.jump(seconds);
        let begun = Instant::now();
        while begun.elapsed() < TTL + TTL / 5 {
            assert!(held.is_held(), "lost after {:?}", begun.elapsed());
            sleep(PAUSE).await;
        }
        let put = client.config().put("a", seconds.to_string()).send().await;
        let written = put.unwrap().config.unwrap().create_time.unwrap();
        let wrong = written.seconds - now();
        assert!(
            (wrong - seconds).abs() < 60,
            "its clock is wrong by {wrong} s"
        );
    }
    let versions = client.config().history("a", 10).await.unwrap();
    let versions: Vec<_> = versions.iter().map(|version| version.version).collect();
    assert_eq!(versions, [2, 1]);
    held.release().await.unwrap();
}

fn store(etcd: &Etcd) -> String {
    format!("etcd://{}/clocks", etcd.endpoints().join(","))
}

fn client(server: &Process) -> Client {
    let options = Options {
        session: SessionOptions {
            ttl: Some(TTL),
            ..SessionOptions::default()
        },
        ..Options::default()
    };
    Client::connect(&[server.address.to_string()], options).unwrap()
}

/// Seconds since 1970, by the clock that is right.
fn now() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    since.as_secs().cast_signed()
}
