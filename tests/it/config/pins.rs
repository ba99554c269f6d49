//! Pins of versions.

use futures_util::future::join_all;
use stanchion_client::proto::{
    AuditOperation, BlameConfigRequest, ConfigSide, DiffConfigVersionsRequest, GetConfigAtRequest,
    GetConfigVersionRequest, Guard, ListAuditEntriesRequest, PinConfigVersionRequest,
    PinConfigVersionResponse, UnpinConfigVersionRequest, config_side::Side,
    get_config_at_request::Moment,
};
use tonic::{Code, Status};

use super::delete;
use crate::support::server::{Backend, Server, assert_invalid, assert_status, on_both_stores};

on_both_stores! {
    a_version_is_pinned_once_and_told_so_wherever_it_is_read,
    what_cannot_be_pinned_is_told,
    what_a_pin_would_do_is_told_without_doing_it,
    there_are_only_so_many_pins,
    the_audit_tells_of_pins_and_takes_them_for_no_versions,
}

pub(super) fn pin(key: &str, version: i64) -> PinConfigVersionRequest {
    PinConfigVersionRequest {
        key: key.into(),
        version,
        ..PinConfigVersionRequest::default()
    }
}

fn unpin(key: &str, version: i64) -> UnpinConfigVersionRequest {
    UnpinConfigVersionRequest {
        key: key.into(),
        version,
        ..UnpinConfigVersionRequest::default()
    }
}

fn guard() -> Option<Guard> {
    Some(Guard {
        lock: "nobody-holds-it".into(),
        fencing_token: 7,
        ..Guard::default()
    })
}

impl Server {
    pub(super) async fn try_pin(
        &self,
        request: PinConfigVersionRequest,
    ) -> Result<PinConfigVersionResponse, Status> {
        let answer = self.configs().pin_config_version(request).await?;
        Ok(answer.into_inner())
    }

    pub(super) async fn unpin(&self, key: &str, version: i64) -> bool {
        let mut configs = self.configs();
        let answer = configs.unpin_config_version(unpin(key, version)).await;
        answer.unwrap().into_inner().unpinned
    }

    async fn pinned_versions(&self, key: &str) -> Vec<i64> {
        let versions = self.versions(key).await.into_iter();
        let pinned = versions.filter(|version| version.pinned);
        pinned.map(|version| version.version).collect()
    }
}

async fn a_version_is_pinned_once_and_told_so_wherever_it_is_read(backend: Backend) {
    let server = backend.server().await;
    for content in ["1", "2", "3"] {
        server.put("a", content).await;
    }
    server.put("a/b", "1").await;
    server.put("a/b", "2").await;
    let mut request = pin("a", 2);
    request.actor = "ann".into();
    request.comment = "audited".into();
    let first = server.try_pin(request).await.unwrap();
    assert!(!first.unchanged);
    let made = first.pin.unwrap();
    assert_eq!((&made.key[..], made.version), ("a", 2));
    assert_eq!((&made.author[..], &made.comment[..]), ("ann", "audited"));
    assert_eq!(made.revision, first.header.unwrap().revision);
    let again = server.try_pin(pin("a", 2)).await.unwrap();
    assert!(again.unchanged);
    assert_eq!(again.pin.unwrap(), made);
    server.try_pin(pin("a", 3)).await.unwrap();
    server.try_delete(delete("a")).await.unwrap();
    server.try_pin(pin("a", 4)).await.unwrap();

    assert_eq!(server.pinned_versions("a").await, [4, 3, 2]);
    assert!(server.pinned_versions("a/b").await.is_empty());
    for (version, pinned) in [(1, false), (2, true)] {
        let request = GetConfigVersionRequest {
            key: "a".into(),
            version,
            ..GetConfigVersionRequest::default()
        };
        let found = server.configs().get_config_version(request).await.unwrap();
        assert_eq!(found.into_inner().version.unwrap().pinned, pinned);
    }
    for listed in server.versions("a").await {
        let request = GetConfigAtRequest {
            key: "a".into(),
            moment: Some(Moment::Revision(listed.revision)),
            ..GetConfigAtRequest::default()
        };
        let found = server.configs().get_config_at(request).await.unwrap();
        let found = found.into_inner().version.unwrap();
        let told = (found.version, found.pinned);
        assert_eq!(told, (listed.version, listed.pinned));
    }
    let side = |version| {
        let side = Some(Side::Version(version));
        Some(ConfigSide { side })
    };
    let request = DiffConfigVersionsRequest {
        key: "a".into(),
        from: side(1),
        to: side(2),
        ..DiffConfigVersionsRequest::default()
    };
    let diff = server.configs().diff_config_versions(request).await;
    let diff = diff.unwrap().into_inner();
    assert!(!diff.from.unwrap().pinned && diff.to.unwrap().pinned);
    let request = BlameConfigRequest {
        key: "a".into(),
        version: 3,
        ..BlameConfigRequest::default()
    };
    let blame = server.configs().blame_config(request).await.unwrap();
    let blame = blame.into_inner();
    assert!(blame.version.unwrap().pinned && blame.versions[0].pinned);
    assert!(server.unpin("a", 3).await);
    assert!(!server.unpin("a", 3).await);
    assert!(!server.unpin("a", 1).await);
    assert_eq!(server.pinned_versions("a").await, [4, 2]);
    server.stop().await;
}

async fn what_cannot_be_pinned_is_told(backend: Backend) {
    let server = backend.server().await;
    server.put("a", "1").await;
    for unknown in [pin("a", 2), pin("b", 1)] {
        let refused = server.try_pin(unknown).await.unwrap_err();
        assert_status(&refused, Code::NotFound, "CONFIG_VERSION_NOT_FOUND");
    }
    for (bad, field) in [
        (pin("a", 0), "version"),
        (pin("a", -1), "version"),
        (pin("a//b", 1), "key"),
    ] {
        assert_invalid(&server.try_pin(bad).await.unwrap_err(), field);
    }
    for (bad, field) in [(unpin("a", 0), "version"), (unpin("", 1), "key")] {
        let refused = server.configs().unpin_config_version(bad).await;
        assert_invalid(&refused.unwrap_err(), field);
    }
    let mut request = pin("a", 1);
    request.guard = guard();
    let refused = server.try_pin(request.clone()).await.unwrap_err();
    assert_status(&refused, Code::FailedPrecondition, "GUARD_FAILED");
    assert!(server.pinned_versions("a").await.is_empty());
    // Also where nothing had to be done.
    server.try_pin(pin("a", 1)).await.unwrap();
    let refused = server.try_pin(request).await.unwrap_err();
    assert_status(&refused, Code::FailedPrecondition, "GUARD_FAILED");
    for version in [1, 2] {
        let mut request = unpin("a", version);
        request.guard = guard();
        let refused = server.configs().unpin_config_version(request).await;
        let refused = refused.unwrap_err();
        assert_status(&refused, Code::FailedPrecondition, "GUARD_FAILED");
    }
    assert_eq!(server.pinned_versions("a").await, [1]);
    server.stop().await;
}

async fn what_a_pin_would_do_is_told_without_doing_it(backend: Backend) {
    let server = backend.server().await;
    server.put("a", "1").await;
    let mut request = pin("a", 1);
    request.validate_only = true;
    let told = server.try_pin(request).await.unwrap();
    assert!(!told.unchanged);
    assert_eq!(told.pin.unwrap().revision, 0);
    let mut unknown = pin("a", 2);
    unknown.validate_only = true;
    let refused = server.try_pin(unknown).await.unwrap_err();
    assert_status(&refused, Code::NotFound, "CONFIG_VERSION_NOT_FOUND");
    assert!(server.pinned_versions("a").await.is_empty());
    server.try_pin(pin("a", 1)).await.unwrap();
    let mut request = unpin("a", 1);
    request.validate_only = true;
    let told = server.configs().unpin_config_version(request).await;
    assert!(told.unwrap().into_inner().unpinned);
    assert_eq!(server.pinned_versions("a").await, [1]);
    server.stop().await;
}

async fn there_are_only_so_many_pins(backend: Backend) {
    let mut settings = backend.settings();
    settings.domain.max_pins = 3;
    let servers = [
        backend.server_with(settings.clone()).await,
        backend.server_with(settings.clone()).await,
        backend.server_with(settings).await,
    ];
    for number in 1..=6 {
        servers[0].put("a", format!("{number}")).await;
    }
    let pins = (1..=6).map(|version| {
        let server = &servers[version as usize % 3];
        server.try_pin(pin("a", version))
    });
    let (good, refused): (Vec<_>, Vec<_>) =
        join_all(pins).await.into_iter().partition(Result::is_ok);
    assert_eq!((good.len(), refused.len()), (3, 3));
    for refused in refused {
        let refused = refused.unwrap_err();
        assert_status(&refused, Code::ResourceExhausted, "TOO_MANY_PINS");
    }
    let pinned = servers[0].pinned_versions("a").await;
    let free = (1..=6).find(|version| !pinned.contains(version)).unwrap();
    // One that is pinned already is no other one.
    let again = servers[1].try_pin(pin("a", pinned[0])).await.unwrap();
    assert!(again.unchanged);
    assert!(servers[1].unpin("a", pinned[0]).await);
    servers[2].try_pin(pin("a", free)).await.unwrap();
    for server in servers {
        server.stop().await;
    }
}

async fn the_audit_tells_of_pins_and_takes_them_for_no_versions(backend: Backend) {
    let server = backend.server().await;
    server.put("a", "1").await;
    server.put("a", "2").await;
    let mut request = pin("a", 1);
    (request.actor, request.comment) = ("ann".into(), "audited".into());
    server.try_pin(request.clone()).await.unwrap();
    // What changes nothing leaves nothing.
    server.try_pin(request.clone()).await.unwrap();
    request.validate_only = true;
    request.version = 2;
    server.try_pin(request).await.unwrap();
    let mut request = unpin("a", 1);
    (request.actor, request.comment) = ("bob".into(), "over".into());
    for _ in 0..2 {
        let mut configs = server.configs();
        configs.unpin_config_version(request.clone()).await.unwrap();
    }
    server.put("a", "3").await;
    let operations = [
        AuditOperation::PinConfigVersion,
        AuditOperation::UnpinConfigVersion,
    ];
    let request = ListAuditEntriesRequest {
        operations: operations.map(i32::from).into(),
        ..ListAuditEntriesRequest::default()
    };
    let listed = server.audits().list_audit_entries(request).await.unwrap();
    let entries = listed.into_inner().entries;
    let told: Vec<_> = entries
        .iter()
        .map(|entry| {
            (
                entry.operation(),
                &entry.key[..],
                &entry.detail[..],
                &entry.actor[..],
                &entry.comment[..],
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (operations[1], "a", "version 1", "bob", "over"),
            (operations[0], "a", "version 1", "ann", "audited"),
        ]
    );
    server.audit_is_whole().await;
    server.stop().await;
}
