//! Versions that are forgotten, and those that are not.

mod meanwhile;
mod together;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use futures_util::future::BoxFuture;
use stanchion::{
    clock::{Clock, SystemClock},
    settings::Settings,
};
use stanchion_client::proto::{
    ConfigChange, ConfigPut, GetConfigVersionRequest, PublishReleaseRequest,
    RollbackReleaseRequest, VerifyAuditRequest, config_change::Change,
};
use tonic::Code;

use super::{delete, get, pins::pin, rollback};
use crate::support::server::{Backend, Server, assert_status, eventually, on_both_stores};

on_both_stores! {
    what_is_neither_among_the_newest_nor_young_goes,
    nothing_goes_by_age_where_that_is_off,
    a_pinned_version_stays_until_it_is_unpinned,
    the_current_version_always_stays,
    many_versions_go_in_steps,
    a_deleted_config_goes_as_a_whole_and_begins_anew,
    a_deleted_config_stays_with_what_is_pinned_of_it,
    nothing_is_rolled_back_to_what_was_forgotten,
    a_release_is_not_rolled_back_over_versions_that_began_anew,
}

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A clock whose time of day a test moves. Durations are real.
#[derive(Clone, Default)]
struct Calendar {
    days: Arc<AtomicU64>,
}

// === impl Calendar ===

impl Calendar {
    fn pass(&self, days: u64) {
        self.days.fetch_add(days, Ordering::SeqCst);
    }
}

impl Clock for Calendar {
    fn now(&self) -> Instant {
        SystemClock.now()
    }

    fn system_time(&self) -> SystemTime {
        let days = self.days.load(Ordering::SeqCst);
        SystemClock.system_time() + DAY * u32::try_from(days).unwrap()
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        SystemClock.sleep_until(deadline)
    }
}

impl Backend {
    /// Settings under which the newest 3 versions stay, others for 30 days, and 20 at most.
    fn forgetting(&self) -> Settings {
        let mut settings = self.settings();
        settings.domain.config_keep_versions = 3;
        settings.domain.config_keep_age = Some(DAY * 30);
        settings.domain.config_max_versions = 20;
        settings.domain.config_keep_deleted = Some(DAY * 180);
        settings.domain.config_prune_interval = Duration::from_millis(20);
        settings
    }

    async fn with_calendar(&self, settings: Settings) -> (Server, Calendar) {
        let calendar = Calendar::default();
        let clock = Arc::new(calendar.clone());
        let server = self.server_on(self.store().await, settings, clock);
        (server.await, calendar)
    }
}

impl Server {
    async fn put_versions(&self, key: &str, count: usize) {
        for number in 1..=count {
            self.put(key, format!("{number}")).await;
        }
    }

    /// Waits until exactly these versions are kept.
    async fn keeps(&self, key: &str, versions: impl IntoIterator<Item = i64>) {
        let wanted: Vec<i64> = versions.into_iter().collect();
        eventually(&format!("{key} to keep {wanted:?}"), async || {
            (self.version_numbers(key).await == wanted).then_some(())
        })
        .await;
    }

    /// Waits until every config before the key `zz` has been looked at twice.
    async fn went_round(&self) {
        for _ in 0..2 {
            // More than the most that there may be.
            self.put_versions("zz", 21).await;
            let newest = self.versions("zz").await[0].version;
            self.keeps("zz", (newest - 19..=newest).rev()).await;
        }
    }

    pub(super) async fn audit_is_whole(&self) {
        let request = VerifyAuditRequest::default();
        let verified = self.audits().verify_audit(request).await.unwrap();
        assert_eq!(verified.into_inner().fault, None);
    }
}

async fn what_is_neither_among_the_newest_nor_young_goes(backend: Backend) {
    let (server, calendar) = backend.with_calendar(backend.forgetting()).await;
    server.put_versions("a", 6).await;
    server.put_versions("few", 3).await;
    calendar.pass(20);
    server.put_versions("a", 4).await;
    server.went_round().await;
    assert_eq!(server.versions("a").await.len(), 10);
    calendar.pass(20);
    // The first six are 40 days old, the others 20.
    server.keeps("a", [10, 9, 8, 7]).await;
    calendar.pass(20);
    server.keeps("a", [10, 9, 8]).await;
    calendar.pass(1000);
    server.went_round().await;
    assert_eq!(server.version_numbers("a").await, [10, 9, 8]);
    assert_eq!(server.version_numbers("few").await, [3, 2, 1]);
    assert_eq!(server.put("a", "more").await.version, 11);
    server.audit_is_whole().await;
    server.stop().await;
}

async fn nothing_goes_by_age_where_that_is_off(backend: Backend) {
    let mut settings = backend.forgetting();
    settings.domain.config_keep_age = None;
    settings.domain.config_keep_deleted = None;
    let (server, calendar) = backend.with_calendar(settings).await;
    server.put_versions("a", 10).await;
    server.put_versions("gone", 2).await;
    server.try_delete(delete("gone")).await.unwrap();
    calendar.pass(10_000);
    server.went_round().await;
    assert_eq!(server.versions("a").await.len(), 10);
    assert_eq!(server.version_numbers("gone").await, [3, 2, 1]);
    // Only by number.
    server.put_versions("a", 15).await;
    server.keeps("a", (6..=25).rev()).await;
    server.stop().await;
}

async fn a_pinned_version_stays_until_it_is_unpinned(backend: Backend) {
    let (server, calendar) = backend.with_calendar(backend.forgetting()).await;
    server.put_versions("a", 10).await;
    for version in [2, 5, 6] {
        server.try_pin(pin("a", version)).await.unwrap();
    }
    calendar.pass(31);
    server.keeps("a", [10, 9, 8, 6, 5, 2]).await;
    // Nor by number.
    server.put_versions("a", 30).await;
    server.keeps("a", (21..=40).rev().chain([6, 5, 2])).await;
    let back = server.try_rollback(rollback("a", 2)).await.unwrap();
    assert_eq!(back.config.unwrap().version, 41);
    assert!(server.unpin("a", 5).await);
    server.keeps("a", (22..=41).rev().chain([6, 2])).await;
    let gone = server.try_pin(pin("a", 5)).await.unwrap_err();
    assert_status(&gone, Code::NotFound, "CONFIG_VERSION_NOT_FOUND");
    server.audit_is_whole().await;
    server.stop().await;
}

async fn the_current_version_always_stays(backend: Backend) {
    let mut settings = backend.forgetting();
    settings.domain.config_keep_versions = 1;
    settings.domain.config_max_versions = 1;
    settings.domain.config_keep_age = Some(Duration::ZERO);
    let (server, calendar) = backend.with_calendar(settings).await;
    server.put_versions("a", 5).await;
    calendar.pass(10_000);
    server.keeps("a", [5]).await;
    assert_eq!(server.try_get(get("a")).await.unwrap().content, "5");
    assert_eq!(server.put("a", "more").await.version, 6);
    server.keeps("a", [6]).await;
    server.stop().await;
}

async fn many_versions_go_in_steps(backend: Backend) {
    let mut settings = backend.forgetting();
    settings.domain.config_keep_age = Some(Duration::ZERO);
    settings.domain.config_max_versions = 10_000;
    // All of it in the first pass.
    settings.domain.config_prune_interval = Duration::from_secs(3600);
    let (server, _) = backend.with_calendar(settings.clone()).await;
    server.put_versions("a", 230).await;
    // With gaps, and steps of which nothing may go.
    for version in (1..=60).map(|number| number * 2) {
        server.try_pin(pin("a", version)).await.unwrap();
    }
    settings.domain.config_prune_interval = Duration::from_millis(20);
    let (second, _) = backend.with_calendar(settings).await;
    server.stop().await;
    let pinned = (1..=60).rev().map(|number| number * 2);
    second
        .keeps("a", [230, 229, 228].into_iter().chain(pinned))
        .await;
    second.stop().await;
}

async fn a_deleted_config_goes_as_a_whole_and_begins_anew(backend: Backend) {
    let (server, calendar) = backend.with_calendar(backend.forgetting()).await;
    server.put_versions("a", 5).await;
    server.try_delete(delete("a")).await.unwrap();
    calendar.pass(31);
    server.keeps("a", [6, 5, 4]).await;
    calendar.pass(140);
    server.went_round().await;
    assert_eq!(server.version_numbers("a").await, [6, 5, 4]);
    calendar.pass(20);
    server.keeps("a", []).await;
    let is_there = || {
        let view = server.app().core.cache.view().unwrap();
        view.state.configs.contains_key(&b"default/a"[..])
    };
    eventually("the head to go", async || (!is_there()).then_some(())).await;
    server.audit_is_whole().await;
    assert_eq!(server.put("a", "again").await.version, 1);
    assert_eq!(server.version_numbers("a").await, [1]);
    server.audit_is_whole().await;
    server.stop().await;
}

async fn a_deleted_config_stays_with_what_is_pinned_of_it(backend: Backend) {
    let (server, calendar) = backend.with_calendar(backend.forgetting()).await;
    server.put_versions("a", 5).await;
    server.try_delete(delete("a")).await.unwrap();
    server.try_pin(pin("a", 2)).await.unwrap();
    calendar.pass(200);
    server.keeps("a", [6, 2]).await;
    server.went_round().await;
    assert_eq!(server.version_numbers("a").await, [6, 2]);
    // It comes back, and versions go on.
    let back = server.try_rollback(rollback("a", 2)).await.unwrap();
    assert_eq!(back.config.unwrap().version, 7);
    server.try_delete(delete("a")).await.unwrap();
    assert!(server.unpin("a", 2).await);
    calendar.pass(200);
    server.keeps("a", []).await;
    server.stop().await;
}

async fn nothing_is_rolled_back_to_what_was_forgotten(backend: Backend) {
    let (server, calendar) = backend.with_calendar(backend.forgetting()).await;
    server.put("a", "before").await;
    server.put("b", "before").await;
    let write = |key: &str| ConfigChange {
        key: key.into(),
        change: Some(Change::Put(ConfigPut {
            content: "released".into(),
            ..ConfigPut::default()
        })),
        ..ConfigChange::default()
    };
    let publish = PublishReleaseRequest {
        name: "r".into(),
        changes: vec![write("a"), write("b")],
        ..PublishReleaseRequest::default()
    };
    server.configs().publish_release(publish).await.unwrap();
    server.put_versions("b", 3).await;
    calendar.pass(31);
    server.keeps("b", [5, 4, 3]).await;
    let undo = RollbackReleaseRequest {
        name: "r".into(),
        force: true,
        ..RollbackReleaseRequest::default()
    };
    let refused = server.configs().rollback_release(undo).await.unwrap_err();
    assert_status(&refused, Code::NotFound, "CONFIG_VERSION_NOT_FOUND");
    assert_eq!(server.version_numbers("a").await, [2, 1]);
    let refused = server.try_rollback(rollback("b", 1)).await.unwrap_err();
    assert_status(&refused, Code::NotFound, "CONFIG_VERSION_NOT_FOUND");
    let request = GetConfigVersionRequest {
        key: "b".into(),
        version: 1,
        ..GetConfigVersionRequest::default()
    };
    let refused = server.configs().get_config_version(request).await;
    let refused = refused.unwrap_err();
    assert_status(&refused, Code::NotFound, "CONFIG_VERSION_NOT_FOUND");
    server.stop().await;
}

async fn a_release_is_not_rolled_back_over_versions_that_began_anew(backend: Backend) {
    let (server, calendar) = backend.with_calendar(backend.forgetting()).await;
    server.put("a", "before").await;
    let publish = PublishReleaseRequest {
        name: "r".into(),
        changes: vec![ConfigChange {
            key: "a".into(),
            change: Some(Change::Put(ConfigPut {
                content: "released".into(),
                ..ConfigPut::default()
            })),
            ..ConfigChange::default()
        }],
        ..PublishReleaseRequest::default()
    };
    server.configs().publish_release(publish).await.unwrap();
    server.try_delete(delete("a")).await.unwrap();
    calendar.pass(200);
    server.keeps("a", []).await;
    // The numbers of what was before the release and of what it made, but others.
    server.put_versions("a", 2).await;
    for (force, code, reason) in [
        (false, Code::Aborted, "CONFIGS_CHANGED"),
        (true, Code::NotFound, "CONFIG_VERSION_NOT_FOUND"),
    ] {
        let undo = RollbackReleaseRequest {
            name: "r".into(),
            force,
            ..RollbackReleaseRequest::default()
        };
        let refused = server.configs().rollback_release(undo).await.unwrap_err();
        assert_status(&refused, code, reason);
    }
    assert_eq!(server.version_numbers("a").await, [2, 1]);
    server.stop().await;
}
