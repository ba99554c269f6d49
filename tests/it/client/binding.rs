//! Configs bound to types: from the service, a failover file, a snapshot.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use stanchion_client::{
    ChangeOptions, Client, Code,
    config::{BindOptions, Current, Live, Origin, Problem},
    proto::{ContentType, ErrorReason},
};

use tokio::sync::mpsc;

use super::{client, client_at, soon};
use crate::support::{
    door::Door,
    server::{Backend, on_both_stores},
};

type Limits = BTreeMap<String, u32>;

on_both_stores! {
    a_bound_config_follows_its_changes_by_its_content_type,
    what_does_not_decode_is_told_and_the_last_good_value_stays,
    a_config_that_is_not_there_or_does_not_decode_is_refused_at_the_start,
    a_snapshot_stands_in_for_a_service_that_is_away_and_gives_way_to_it,
    a_failover_file_counts_before_the_service_as_long_as_it_is_there,
}

/// How configs are bound here: in a hurry.
fn options(folder: &Path) -> BindOptions {
    BindOptions {
        failover_dir: Some(folder.join("failover")),
        failover_interval: Duration::from_millis(10),
        snapshot_dir: Some(folder.join("snapshots")),
        ..BindOptions::default()
    }
}

async fn put(client: &Client, content_type: ContentType, content: &'static str) {
    let put = client.config().put("shop/limits", content);
    put.content_type(content_type).send().await.unwrap();
}

/// Waits until what is shown is as wanted.
async fn shows<T: Send + Sync + 'static>(
    live: &mut Live<T>,
    what: &str,
    wanted: impl Fn(&Current<T>) -> bool,
) {
    while !wanted(&live.current()) {
        soon(what, live.changed()).await;
    }
}

async fn a_bound_config_follows_its_changes_by_its_content_type(backend: Backend) {
    let server = backend.server().await;
    let client = client(&[&server]);
    put(&client, ContentType::Json, r#"{"a": 1}"#).await;
    let bind = client.config().bind::<Limits>("shop/limits");
    let mut live = bind.start().await.unwrap();
    assert_eq!(live.get()["a"], 1);
    let (told, mut heard) = mpsc::channel(16);
    let callback = live.on_change(move |now| told.try_send(now.value["a"]).unwrap());

    put(&client, ContentType::Yaml, "a: 2").await;
    shows(&mut live, "YAML", |now| now.value["a"] == 2).await;
    put(&client, ContentType::Toml, "a = 3").await;
    shows(&mut live, "TOML", |now| now.value["a"] == 3).await;
    let now = live.current();
    assert_eq!((now.origin, now.version), (Origin::Service, 3));
    assert!(now.problem.is_none());
    assert!(live.age().is_some());
    while soon("the callback", heard.recv()).await != Some(3) {}

    drop(callback);
    put(&client, ContentType::Toml, "a = 4").await;
    shows(&mut live, "the next", |now| now.value["a"] == 4).await;
    assert_eq!(soon("its end", heard.recv()).await, None);
}

async fn what_does_not_decode_is_told_and_the_last_good_value_stays(backend: Backend) {
    let server = backend.server().await;
    let client = client(&[&server]);
    put(&client, ContentType::Json, r#"{"a": 1}"#).await;
    let bind = client.config().bind::<Limits>("shop/limits");
    let mut live = bind.start().await.unwrap();

    put(&client, ContentType::Json, r#"{"a": "many"}"#).await;
    shows(&mut live, "the problem", |now| now.problem.is_some()).await;
    let now = live.current();
    assert_eq!((now.value["a"], now.version), (1, 1));
    let Some(Problem::Undecodable { version: 2, .. }) = now.problem else {
        panic!("{:?}", now.problem);
    };

    put(&client, ContentType::Json, r#"{"a": 3}"#).await;
    shows(&mut live, "the next", |now| now.version == 3).await;
    assert!(live.current().problem.is_none());
    let configs = client.config();
    let deleted = configs
        .delete("shop/limits", ChangeOptions::default())
        .await;
    assert!(deleted.unwrap().deleted);
    shows(&mut live, "the deletion", |now| {
        now.problem == Some(Problem::Deleted)
    })
    .await;
    assert_eq!(live.get()["a"], 3);
}

async fn a_config_that_is_not_there_or_does_not_decode_is_refused_at_the_start(backend: Backend) {
    let server = backend.server().await;
    let client = client(&[&server]);
    let folder = tempfile::tempdir().unwrap();
    let start = async |key: &str| {
        let bind = client.config().bind::<Limits>(key);
        bind.options(options(folder.path())).start().await
    };
    let error = start("shop/limits").await.unwrap_err();
    assert_eq!(error.reason(), ErrorReason::ConfigNotFound);
    put(&client, ContentType::Json, r#"{"a": "many"}"#).await;
    let error = start("shop/limits").await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert!(error.to_string().contains("version 1"), "{error}");
    for outside in ["../../a", "/etc/passwd", "a/./b"] {
        let error = start(outside).await.unwrap_err();
        assert_eq!(error.violations()[0].field, "key", "{outside}");
    }
}

async fn a_snapshot_stands_in_for_a_service_that_is_away_and_gives_way_to_it(backend: Backend) {
    let server = backend.server().await;
    let door = Door::to(server.address).await;
    let folder = tempfile::tempdir().unwrap();
    let start = async |options: BindOptions| {
        let client = client_at(&door);
        let bind = client.config().bind::<Limits>("shop/limits");
        soon("an answer", bind.options(options).start()).await
    };
    let from_here = || options(folder.path());
    put(&client_at(&door), ContentType::Json, r#"{"a": 1}"#).await;
    let mut first = start(from_here()).await.unwrap();
    put(&client_at(&door), ContentType::Json, r#"{"a": 2}"#).await;
    shows(&mut first, "the change", |now| now.value["a"] == 2).await;
    let file = folder.path().join("snapshots/default/shop/limits+snapshot");
    let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);

    // The value stays with a program that has it, and is there for one that begins.
    door.shut();
    let age = first.age().unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert!(first.age().unwrap() > age);
    let mut second = start(from_here()).await.unwrap();
    assert_eq!(second.get()["a"], 2);
    assert!(matches!(second.current().origin, Origin::Snapshot { .. }));
    assert!(second.age().unwrap() < Duration::from_secs(60));

    // What is too old, damaged or not there is no snapshot.
    let young = BindOptions {
        snapshot_max_age: Some(Duration::ZERO),
        ..from_here()
    };
    let error = start(young).await.unwrap_err();
    assert!(error.to_string().contains("too old"), "{error}");
    let mut damaged = fs::read(&file).unwrap();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(&file, damaged).unwrap();
    let error = start(from_here()).await.unwrap_err();
    assert!(error.to_string().contains("is damaged"), "{error}");
    assert_eq!(error.code(), Code::Unavailable);
    let error = start(BindOptions {
        patience: Duration::from_millis(100),
        ..BindOptions::default()
    });
    assert!(error.await.unwrap_err().is_retryable());

    door.open(server.address);
    shows(&mut second, "the service", |now| {
        now.origin == Origin::Service
    })
    .await;
    put(&client_at(&door), ContentType::Json, r#"{"a": 3}"#).await;
    shows(&mut second, "the change", |now| now.value["a"] == 3).await;
    // The damaged one was replaced by then.
    door.shut();
    assert_eq!(start(from_here()).await.unwrap().get()["a"], 3);
}

async fn a_failover_file_counts_before_the_service_as_long_as_it_is_there(backend: Backend) {
    let server = backend.server().await;
    let client = client(&[&server]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("failover/default/shop/limits");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let write = |text: &str| {
        let new = file.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, &file).unwrap();
    };
    put(&client, ContentType::Yaml, "a: 1").await;
    let bind = client.config().bind::<Limits>("shop/limits");
    let mut live = bind.options(options(folder.path())).start().await.unwrap();
    // One for `shop` says nothing of what is below.
    let above = tempfile::tempdir().unwrap();
    fs::create_dir_all(above.path().join("failover/default")).unwrap();
    fs::write(above.path().join("failover/default/shop"), "a: 7").unwrap();
    let bind = client.config().bind::<Limits>("shop/limits");
    let below = bind.options(options(above.path())).start().await.unwrap();
    assert_eq!(below.current().origin, Origin::Service);
    assert!(below.current().problem.is_none());

    // In the format that the config has.
    write("a: 10");
    shows(&mut live, "the file", |now| now.value["a"] == 10).await;
    assert_eq!(live.current().origin, Origin::Failover);
    assert_eq!(live.age(), None);
    let bind = client.config().bind::<Limits>("shop/limits");
    let other = bind.options(options(folder.path())).start().await.unwrap();
    assert_eq!(other.get()["a"], 10);

    put(&client, ContentType::Yaml, "a: 2").await;
    write("a: many");
    shows(&mut live, "the problem", |now| now.problem.is_some()).await;
    assert_eq!(live.get()["a"], 10);
    fs::remove_file(&file).unwrap();
    shows(&mut live, "the service", |now| now.value["a"] == 2).await;
    let now = live.current();
    assert_eq!((now.origin, now.problem), (Origin::Service, None));

    write("a: 11");
    shows(&mut live, "the file", |now| now.value["a"] == 11).await;
}

#[tokio::test]
async fn a_failover_file_does_without_the_service() {
    // A port that was free a moment ago.
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let client = Client::connect([address.to_string()], Default::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("failover/default/n");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "7\n").unwrap();
    let bind = client.config().bind::<u32>("n");
    let live = bind.options(options(folder.path())).start().await.unwrap();
    assert_eq!(*live.get(), 7);
    let bind = client
        .config()
        .bind_with("n", |config| String::from_utf8(config.content.to_vec()));
    let live = bind.options(options(folder.path())).start().await.unwrap();
    assert_eq!(*live.get(), "7\n");
}
