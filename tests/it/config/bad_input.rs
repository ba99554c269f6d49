//! Requests that break a rule.

use stanchion_client::proto::{
    ConfigKeys, GetConfigVersionRequest, ListConfigVersionsRequest, ListConfigsRequest,
    PutConfigRequest, WatchConfigsRequest, watch_configs_request::Selection,
};
use tonic::Code;

use super::{delete, get, put, rollback};
use crate::support::server::{Backend, assert_invalid, assert_status, on_both_stores};

on_both_stores! {
    illegal_keys_are_refused_by_every_method,
    a_content_above_the_limit_is_refused_and_one_at_the_limit_is_not,
    fields_out_of_their_range_are_named,
    all_that_is_wrong_is_said_at_once,
    page_tokens_of_another_list_are_refused,
}

/// Puts something wrong into a request.
type Spoil = fn(&mut PutConfigRequest);

async fn illegal_keys_are_refused_by_every_method(backend: Backend) {
    let server = backend.server().await;
    let long = "k".repeat(513);
    for key in [
        "", "/a", "a/", "a//b", "a/../b", ".", "a b", "ключ", "a\n", &long,
    ] {
        assert_invalid(&server.try_put(put(key, "x")).await.unwrap_err(), "key");
        assert_invalid(&server.try_get(get(key)).await.unwrap_err(), "key");
        assert_invalid(&server.try_delete(delete(key)).await.unwrap_err(), "key");
        assert_invalid(
            &server.try_rollback(rollback(key, 1)).await.unwrap_err(),
            "key",
        );
        let request = ListConfigVersionsRequest {
            key: key.into(),
            ..ListConfigVersionsRequest::default()
        };
        let refused = server.configs().list_config_versions(request).await;
        assert_invalid(&refused.unwrap_err(), "key");
        let request = GetConfigVersionRequest {
            key: key.into(),
            version: 1,
            ..GetConfigVersionRequest::default()
        };
        let refused = server.configs().get_config_version(request).await;
        assert_invalid(&refused.unwrap_err(), "key");
        let watch = async |selection| {
            let request = WatchConfigsRequest {
                selection: Some(selection),
                ..WatchConfigsRequest::default()
            };
            server.configs().watch_configs(request).await.unwrap_err()
        };
        assert_invalid(&watch(Selection::Key(key.into())).await, "key");
        let keys = vec!["good".into(), key.into()];
        assert_invalid(
            &watch(Selection::Keys(ConfigKeys { keys })).await,
            "keys.keys[1]",
        );
    }
    let mut request = put("a", "x");
    request.namespace = "a/b".into();
    assert_invalid(&server.try_put(request).await.unwrap_err(), "namespace");
    // The longest key there can be.
    let longest = "k".repeat(512);
    assert_eq!(server.put(&longest, "x").await.version, 1);
    server.stop().await;
}

async fn a_content_above_the_limit_is_refused_and_one_at_the_limit_is_not(backend: Backend) {
    let server = backend.server().await;
    let limit = 1024 * 1024;
    let refused = server
        .try_put(put("a", vec![0; limit + 1]))
        .await
        .unwrap_err();
    assert_invalid(&refused, "content");
    assert_status(&refused, Code::InvalidArgument, "INVALID_ARGUMENT");
    assert_eq!(
        server.put("a", vec![0; limit]).await.size_bytes,
        limit as i64
    );
    assert_eq!(server.try_get(get("a")).await.unwrap().content.len(), limit);
    server.stop().await;
}

async fn fields_out_of_their_range_are_named(backend: Backend) {
    let server = backend.server().await;
    let cases: [(&str, Spoil); 12] = [
        ("content_type", |request| request.content_type = 99),
        ("description", |request| {
            request.description = "d".repeat(1025)
        }),
        ("comment", |request| request.comment = "c".repeat(1025)),
        ("actor", |request| request.actor = "a".repeat(254)),
        ("request_id", |request| request.request_id = "r".repeat(129)),
        ("expected_version", |request| {
            request.expected_version = Some(-1)
        }),
        ("labels", |request| {
            request.labels = (0..10_000)
                .map(|n| (n.to_string(), String::new()))
                .collect();
        }),
        ("labels", |request| {
            request.labels = [("big".into(), "v".repeat(4096))].into();
        }),
        ("labels", |request| {
            request.labels = [(String::new(), "v".into())].into()
        }),
        ("guard.lock", |request| {
            request.guard = Some(Default::default())
        }),
        ("guard.fencing_token", |request| {
            request.guard = Some(Default::default())
        }),
        ("namespace", |request| request.namespace = "..".into()),
    ];
    for (field, spoil) in cases {
        let mut request = put("a", "x");
        spoil(&mut request);
        assert_invalid(&server.try_put(request).await.unwrap_err(), field);
    }
    let mut request = delete("a");
    request.expected_version = Some(0);
    assert_invalid(
        &server.try_delete(request).await.unwrap_err(),
        "expected_version",
    );
    let mut request = get("a");
    request.min_revision = -1;
    assert_invalid(&server.try_get(request).await.unwrap_err(), "min_revision");
    let mut request = get("a");
    request.consistency = 99;
    assert_invalid(&server.try_get(request).await.unwrap_err(), "consistency");

    for (field, request) in [
        (
            "page_size",
            ListConfigsRequest {
                page_size: -1,
                ..Default::default()
            },
        ),
        (
            "prefix",
            ListConfigsRequest {
                prefix: "/a".into(),
                ..Default::default()
            },
        ),
        (
            "prefix",
            ListConfigsRequest {
                prefix: "a b".into(),
                ..Default::default()
            },
        ),
    ] {
        let refused = server.configs().list_configs(request).await.unwrap_err();
        assert_invalid(&refused, field);
    }
    let many = ConfigKeys {
        keys: (0..101).map(|n| n.to_string()).collect(),
    };
    for keys in [ConfigKeys::default(), many] {
        let request = WatchConfigsRequest {
            selection: Some(Selection::Keys(keys)),
            ..WatchConfigsRequest::default()
        };
        let refused = server.configs().watch_configs(request).await.unwrap_err();
        assert_invalid(&refused, "keys.keys");
    }
    let request = WatchConfigsRequest {
        min_interval: Some(prost_types::Duration {
            seconds: 61,
            nanos: 0,
        }),
        ..WatchConfigsRequest::default()
    };
    let refused = server.configs().watch_configs(request).await.unwrap_err();
    assert_invalid(&refused, "min_interval");
    assert!(server.versions("a").await.is_empty());
    server.stop().await;
}

async fn all_that_is_wrong_is_said_at_once(backend: Backend) {
    let server = backend.server().await;
    let mut request = put("a//b", "x");
    request.namespace = "no spaces".into();
    request.content_type = 99;
    let refused = server.try_put(request).await.unwrap_err();
    for field in ["namespace", "key", "content_type"] {
        assert_invalid(&refused, field);
    }
    server.stop().await;
}

async fn page_tokens_of_another_list_are_refused(backend: Backend) {
    let server = backend.server().await;
    for number in 0..3 {
        server.put("a", format!("{number}")).await;
        server.put(&format!("a/{number}"), "x").await;
    }
    let list = async |prefix: &str, token: &str| {
        let request = ListConfigsRequest {
            prefix: prefix.into(),
            page_size: 1,
            page_token: token.into(),
            ..ListConfigsRequest::default()
        };
        let response = server.configs().list_configs(request).await;
        response.map(|response| response.into_inner().next_page_token)
    };
    let history = async |key: &str, token: &str| {
        let request = ListConfigVersionsRequest {
            key: key.into(),
            page_size: 1,
            page_token: token.into(),
            ..ListConfigVersionsRequest::default()
        };
        let response = server.configs().list_config_versions(request).await;
        response.map(|response| response.into_inner().next_page_token)
    };
    let configs = list("a/", "").await.unwrap();
    let versions = history("a", "").await.unwrap();
    list("a/", &configs).await.unwrap();
    history("a", &versions).await.unwrap();
    for refused in [
        list("a", &configs).await,
        list("a/", &versions).await,
        list("a/", "nonsense").await,
        list("a/", &configs[2..]).await,
        list("a/", &configs[..20]).await,
        history("b", &versions).await,
        history("a", &configs).await,
        history("a", &versions[2..]).await,
    ] {
        let refused = refused.unwrap_err();
        assert_invalid(&refused, "page_token");
        assert_status(&refused, Code::InvalidArgument, "INVALID_PAGE_TOKEN");
    }
    server.stop().await;
}
