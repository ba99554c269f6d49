//! Reads that wait for a change.

use std::time::{Duration, Instant};

use stanchion_client::proto::{
    ConfigWait, GetConfigRequest, GetConfigResponse, config_service_client::ConfigServiceClient,
};
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use super::{
    delete,
    follower::{Follower, key},
    get, put,
};
use crate::support::server::{
    Backend, Server, assert_invalid, assert_status, eventually, on_both_stores,
};

on_both_stores! {
    a_wait_ends_with_a_later_version_and_with_a_deletion,
    whoever_knows_of_no_config_waits_until_there_is_one,
    a_wait_without_a_change_ends_with_what_there_is,
    whoever_knows_more_than_the_replica_waits_for_more_yet,
    a_watch_goes_on_where_a_wait_ended,
    a_wait_outlives_whatever_the_log_forgets,
    who_waits_is_told_that_the_replica_drains,
    who_goes_waits_no_longer,
    a_wait_that_cannot_be_is_refused,
}

/// Longer than anything takes here.
const LONG: Duration = Duration::from_secs(50);

type Answer = Result<GetConfigResponse, Status>;

async fn a_wait_ends_with_a_later_version_and_with_a_deletion(backend: Backend) {
    let server = backend.server().await;
    let other = backend.server().await;
    server.put("a", "1").await;
    let known = server.wait("a", 0).await.await.unwrap().unwrap();
    assert_eq!(known.config.unwrap().version, 1);
    let waiting = [
        server.wait("a", 1).await,
        server.wait_besides(1, "a", 1).await,
    ];
    other.put("b", "1").await;
    other.put("a", "2").await;
    for waiting in waiting {
        let answer = waiting.await.unwrap().unwrap();
        let config = answer.config.unwrap();
        assert_eq!((config.version, &config.content[..]), (2, &b"2"[..]));
        assert!(!answer.unchanged && answer.header.unwrap().revision >= config.revision);
    }
    let waiting = server.wait("a", 2).await;
    other.try_delete(delete("a")).await.unwrap();
    let gone = waiting.await.unwrap().unwrap_err();
    assert_status(&gone, Code::NotFound, "CONFIG_NOT_FOUND");
    server.stop().await;
    other.stop().await;
}

async fn whoever_knows_of_no_config_waits_until_there_is_one(backend: Backend) {
    let server = backend.server().await;
    let waiting = server.wait("a", 0).await;
    server.put("a", "1").await;
    let first = waiting.await.unwrap().unwrap().config.unwrap();
    assert_eq!(first.version, 1);
    server.try_delete(delete("a")).await.unwrap();
    // Version 4 records the second deletion.
    for known in [0, 4] {
        let waiting = server.wait("a", known).await;
        let back = server.put("a", format!("after {known}")).await;
        let answer = waiting.await.unwrap().unwrap();
        assert_eq!(answer.config.unwrap().version, back.version);
        if known == 0 {
            server.try_delete(delete("a")).await.unwrap();
        }
    }
    server.stop().await;
}

async fn a_wait_without_a_change_ends_with_what_there_is(backend: Backend) {
    let server = backend.server().await;
    server.put("a", "1").await;
    let moment = Duration::from_millis(50);
    let begun = Instant::now();
    let answer = ask(server.configs(), wait("a", 1, moment)).await.unwrap();
    assert!(answer.unchanged && begun.elapsed() >= moment);
    assert_eq!(answer.config.unwrap().content, "1");
    // It knows more than the store does after a loss of data.
    let answer = ask(server.configs(), wait("a", 7, moment)).await.unwrap();
    assert!(!answer.unchanged);
    let absent = ask(server.configs(), wait("b", 0, moment)).await;
    assert_status(&absent.unwrap_err(), Code::NotFound, "CONFIG_NOT_FOUND");
    server.stop().await;
}

async fn whoever_knows_more_than_the_replica_waits_for_more_yet(backend: Backend) {
    let server = backend.server().await;
    server.put("a", "1").await;
    let waiting = server.wait("a", 2).await;
    server.put("a", "2").await;
    server.put("a", "3").await;
    let answer = waiting.await.unwrap().unwrap();
    assert_eq!(answer.config.unwrap().version, 3);
    server.stop().await;
}

async fn a_watch_goes_on_where_a_wait_ended(backend: Backend) {
    let server = backend.server().await;
    server.put("a", "1").await;
    let waiting = server.wait("a", 1).await;
    server.put("a", "2").await;
    let answer = waiting.await.unwrap().unwrap();
    server.put("a", "3").await;
    let token = answer.resume_token;
    let mut follower = Follower::resume(&server, key("a"), &token, answer.config).await;
    follower.until_content("a", "3").await;
    assert_eq!((follower.deltas, follower.resets.len()), ((1, 0), 0));
    server.stop().await;
}

async fn a_wait_outlives_whatever_the_log_forgets(backend: Backend) {
    let mut settings = backend.settings();
    settings.cache.log_revisions = 8;
    let server = backend.server_with(settings).await;
    server.put("a", "1").await;
    let waiting = server.wait("a", 1).await;
    for number in 0..30 {
        server.put("busy", format!("{number}")).await;
    }
    assert!(!waiting.is_finished());
    for number in 2..40 {
        server.put("a", format!("{number}")).await;
    }
    let answer = waiting.await.unwrap().unwrap();
    assert!(answer.config.unwrap().version > 1);
    server.stop().await;
}

async fn who_waits_is_told_that_the_replica_drains(backend: Backend) {
    let server = backend.server().await;
    server.put("a", "1").await;
    let waiting = server.wait("a", 1).await;
    server.stop().await;
    let told = waiting.await.unwrap().unwrap_err();
    assert_status(&told, Code::Unavailable, "DRAINING");
}

async fn who_goes_waits_no_longer(backend: Backend) {
    let server = backend.server().await;
    server.put("a", "1").await;
    let waiting = server.wait("a", 1).await;
    waiting.abort();
    server.until_waiting(0).await;
    server.stop().await;
}

async fn a_wait_that_cannot_be_is_refused(backend: Backend) {
    let server = backend.server().await;
    for (after, timeout, field) in [
        (1, Duration::from_secs(61), "wait.timeout"),
        (1, Duration::ZERO, "wait.timeout"),
        (-1, LONG, "wait.after_version"),
    ] {
        let refused = ask(server.configs(), wait("a", after, timeout)).await;
        assert_invalid(&refused.unwrap_err(), field);
    }
    let mut request = wait("a", 1, LONG);
    request.wait.as_mut().unwrap().timeout = None;
    let refused = ask(server.configs(), request).await;
    assert_invalid(&refused.unwrap_err(), "wait.timeout");
    // Nothing of it is for reads that do not wait.
    server.try_put(put("a", "1")).await.unwrap();
    let answer = ask(server.configs(), get("a")).await.unwrap();
    assert!(!answer.unchanged);
    server.stop().await;
}

impl Server {
    /// Begins to wait where nobody does; returns once the call waits, or has its answer.
    async fn wait(&self, key: &str, after_version: i64) -> JoinHandle<Answer> {
        self.wait_besides(0, key, after_version).await
    }

    /// The same where so many wait already.
    async fn wait_besides(&self, others: u64, key: &str, after_version: i64) -> JoinHandle<Answer> {
        // Those that have their answers may not be gone yet.
        self.until_waiting(others).await;
        let call = tokio::spawn(ask(self.configs(), wait(key, after_version, LONG)));
        eventually("the call to wait", async || {
            (self.waiting() > others || call.is_finished()).then_some(())
        })
        .await;
        call
    }

    /// Returns once so many calls wait.
    async fn until_waiting(&self, count: u64) {
        eventually("so many to wait", async || {
            (self.waiting() == count).then_some(())
        })
        .await;
    }

    /// How many calls wait.
    fn waiting(&self) -> u64 {
        self.app().core.cache.stats().subscribers
    }
}

async fn ask(
    mut configs: ConfigServiceClient<tonic::transport::Channel>,
    request: GetConfigRequest,
) -> Answer {
    Ok(configs.get_config(request).await?.into_inner())
}

fn wait(key: &str, after_version: i64, timeout: Duration) -> GetConfigRequest {
    GetConfigRequest {
        wait: Some(ConfigWait {
            after_version,
            timeout: Some(timeout.try_into().unwrap()),
        }),
        ..get(key)
    }
}
