//! Configs, read and followed.

use std::time::{Duration, SystemTime};

use stanchion_client::{ChangeOptions, Code, proto::ErrorReason};

use super::{client, soon};
use crate::support::server::{Backend, eventually, on_both_stores};

on_both_stores! {
    a_value_follows_its_config_from_before_it_exists_until_it_is_deleted,
    a_change_that_came_while_nobody_waited_is_not_missed,
    configs_below_a_prefix_change_together,
    a_stale_write_is_refused_with_the_versions,
    a_refused_key_is_an_error_and_not_a_wait,
    a_wait_goes_on_at_another_replica_when_the_first_one_drains,
    several_configs_and_former_ones_are_read,
}

async fn a_value_follows_its_config_from_before_it_exists_until_it_is_deleted(backend: Backend) {
    let server = backend.server().await;
    let configs = client(&[&server]).config();
    let mut value = configs.watch("shop/limit");
    soon("the first snapshot", value.ready()).await.unwrap();
    assert!(value.get().is_none());

    configs.put("shop/limit", "1").send().await.unwrap();
    configs.put("shop/limit", "2").send().await.unwrap();
    while value.get().is_none_or(|config| config.version < 2) {
        soon("a change", value.changed()).await;
    }
    assert_eq!(value.get().unwrap().content, "2");
    assert!(value.age().is_some());

    configs
        .delete("shop/limit", ChangeOptions::default())
        .await
        .unwrap();
    while value.get().is_some() {
        soon("the deletion", value.changed()).await;
    }
}

async fn a_change_that_came_while_nobody_waited_is_not_missed(backend: Backend) {
    let server = backend.server().await;
    let configs = client(&[&server]).config();
    let mut value = configs.watch("shop/limit");
    soon("the first snapshot", value.ready()).await.unwrap();
    soon("the first snapshot", value.changed()).await;

    configs.put("shop/limit", "1").send().await.unwrap();
    eventually("the change", async || value.get().map(drop)).await;
    soon("to be told of it", value.changed()).await;
}

async fn configs_below_a_prefix_change_together(backend: Backend) {
    let server = backend.server().await;
    let configs = client(&[&server]).config();
    configs.put("shop/a", "1").send().await.unwrap();
    configs.put("other", "1").send().await.unwrap();
    let mut values = configs.watch_prefix("shop/");
    soon("the first snapshot", values.ready()).await.unwrap();
    assert_eq!(values.get_all().len(), 1);

    configs.put("shop/b", "1").send().await.unwrap();
    while values.get("shop/b").is_none() {
        soon("a change", values.changed()).await;
    }
    assert!(values.get("other").is_none());
}

async fn a_stale_write_is_refused_with_the_versions(backend: Backend) {
    let server = backend.server().await;
    let configs = client(&[&server]).config();
    configs.put("shop/limit", "1").send().await.unwrap();
    let error = configs
        .put("shop/limit", "2")
        .options(ChangeOptions {
            expected_version: Some(0),
            ..ChangeOptions::default()
        })
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::Aborted);
    assert_eq!(error.reason(), ErrorReason::VersionMismatch);
    assert_eq!(error.metadata()["current_version"], "1");
}

async fn a_refused_key_is_an_error_and_not_a_wait(backend: Backend) {
    let server = backend.server().await;
    let configs = client(&[&server]).config();
    let value = configs.watch("not//a/key");
    let error = soon("the refusal", value.ready()).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert_eq!(error.violations()[0].field, "key");
}

async fn a_wait_goes_on_at_another_replica_when_the_first_one_drains(backend: Backend) {
    let first = backend.server().await;
    let second = backend.server().await;
    let configs = client(&[&first, &second]).config();
    configs.put("shop/limit", "1").send().await.unwrap();
    let waiting = tokio::spawn({
        let configs = configs.clone();
        async move {
            configs
                .get_after("shop/limit", 1, Duration::from_secs(100))
                .await
        }
    });
    eventually("the wait to begin", async || {
        let stats = first.app().core.cache.stats();
        (stats.subscribers > 0).then_some(())
    })
    .await;
    first.stop().await;
    configs.put("shop/limit", "2").send().await.unwrap();
    let answer = soon("the change", waiting).await.unwrap().unwrap();
    assert_eq!(answer.config.unwrap().content, "2");
    let answer = configs.get_after("shop/limit", 2, Duration::from_millis(20));
    assert!(soon("the timeout", answer).await.unwrap().unchanged);
    // Longer than any clock counts.
    let answer = configs.get_after("shop/limit", 1, Duration::MAX);
    assert!(!soon("the change", answer).await.unwrap().unchanged);
}

async fn several_configs_and_former_ones_are_read(backend: Backend) {
    let server = backend.server().await;
    let configs = client(&[&server]).config();
    configs.put("shop/limit", "1").send().await.unwrap();
    let written = configs.put("shop/limit", "2").send().await.unwrap();
    let revision = written.config.unwrap().revision;
    let found = configs.get_several(["shop/limit", "other"]).await.unwrap();
    assert_eq!(found.configs[0].content, "2");
    assert_eq!(found.missing_keys, ["other"]);
    let then = configs.at_revision("shop/limit", revision - 1).await;
    assert_eq!(then.unwrap().unwrap().content, "1");
    configs
        .delete("shop/limit", ChangeOptions::default())
        .await
        .unwrap();
    let now = configs.at_time("shop/limit", SystemTime::now()).await;
    assert!(now.unwrap().is_none());
}
