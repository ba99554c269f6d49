//! Versions and lists.

use std::time::{Duration, SystemTime};

use stanchion_client::proto::{
    Consistency, GetConfigVersionRequest, ListConfigVersionsRequest, ListConfigsRequest,
};
use tonic::Code;

use super::{delete, get, put};
use crate::support::server::{Backend, assert_status, on_both_stores};

on_both_stores! {
    every_version_says_who_wrote_it_when_and_why,
    versions_page_from_the_newest_to_the_oldest,
    a_version_is_read_whole_and_an_unknown_one_is_not_found,
    a_key_that_never_was_has_no_versions,
    configs_are_listed_by_prefix_page_by_page,
    a_page_of_configs_ends_before_it_gets_too_large,
    namespaces_do_not_see_each_other,
}

async fn every_version_says_who_wrote_it_when_and_why(backend: Backend) {
    let server = backend.server().await;
    let before = SystemTime::now();
    for (actor, comment) in [("ann", "first"), ("bob", "second")] {
        let mut request = put("a", actor);
        request.actor = actor.into();
        request.comment = comment.into();
        server.try_put(request).await.unwrap();
    }
    let mut request = delete("a");
    request.actor = "eve".into();
    request.comment = "away with it".into();
    server.try_delete(request).await.unwrap();
    let after = SystemTime::now();
    let versions = server.versions("a").await;
    let said: Vec<_> = versions
        .iter()
        .map(|v| (&v.author[..], &v.comment[..]))
        .collect();
    assert_eq!(
        said,
        [("eve", "away with it"), ("bob", "second"), ("ann", "first")]
    );
    let times: Vec<SystemTime> = versions
        .iter()
        .map(|version| version.create_time.unwrap().try_into().unwrap())
        .collect();
    assert!(times.windows(2).all(|pair| pair[0] >= pair[1]));
    assert!(times[2] >= before - Duration::from_millis(1) && times[0] <= after);
    server.stop().await;
}

async fn versions_page_from_the_newest_to_the_oldest(backend: Backend) {
    let server = backend.server().await;
    const VERSIONS: i64 = 75;
    for number in 1..=VERSIONS {
        server.put("a", format!("{number}")).await;
    }
    for (size, pages) in [(7, 11), (25, 3), (50, 2), (75, 1), (1000, 1)] {
        let mut request = ListConfigVersionsRequest {
            key: "a".into(),
            page_size: size,
            ..ListConfigVersionsRequest::default()
        };
        let mut found = Vec::new();
        for page in 1.. {
            let response = server.configs().list_config_versions(request.clone()).await;
            let response = response.unwrap().into_inner();
            found.extend(response.versions.iter().map(|version| version.version));
            request.page_token = response.next_page_token;
            if request.page_token.is_empty() {
                assert_eq!(page, pages, "pages of {size}");
                break;
            }
        }
        assert_eq!(found, Vec::from_iter((1..=VERSIONS).rev()));
    }
    server.stop().await;
}

async fn a_version_is_read_whole_and_an_unknown_one_is_not_found(backend: Backend) {
    let server = backend.server().await;
    server.put("a", "one").await;
    server.put("a", "two").await;
    server.try_delete(delete("a")).await.unwrap();
    for consistency in [Consistency::Unspecified, Consistency::Linearizable] {
        let request = |version| GetConfigVersionRequest {
            key: "a".into(),
            version,
            consistency: consistency.into(),
            ..GetConfigVersionRequest::default()
        };
        let get = async |version| server.configs().get_config_version(request(version)).await;
        let response = get(1).await.unwrap().into_inner();
        let version = response.version.unwrap();
        assert_eq!(&version.content[..], b"one");
        assert!(response.header.unwrap().revision >= version.revision);
        let deletion = get(3).await.unwrap().into_inner().version.unwrap();
        assert_eq!((deletion.content.len(), &deletion.sha256[..]), (0, ""));
        let unknown = get(4).await.unwrap_err();
        assert_status(&unknown, Code::NotFound, "CONFIG_VERSION_NOT_FOUND");
    }
    server.stop().await;
}

async fn a_key_that_never_was_has_no_versions(backend: Backend) {
    let server = backend.server().await;
    // Keys that are beginnings of each other do not share a history.
    server.put("a/b", "one").await;
    assert!(server.versions("a").await.is_empty());
    assert!(server.versions("a/b/c").await.is_empty());
    let unknown = server.try_get(get("a")).await.unwrap_err();
    assert_status(&unknown, Code::NotFound, "CONFIG_NOT_FOUND");
    server.stop().await;
}

async fn configs_are_listed_by_prefix_page_by_page(backend: Backend) {
    let server = backend.server().await;
    for number in 0..25 {
        server.put(&format!("app/{number:02}"), "x").await;
    }
    for key in ["app", "apps", "zoo", "app/07/deep"] {
        server.put(key, "y").await;
    }
    server.try_delete(delete("app/03")).await.unwrap();
    let list = async |prefix: &str, size| {
        let mut request = ListConfigsRequest {
            prefix: prefix.into(),
            page_size: size,
            ..ListConfigsRequest::default()
        };
        let mut found = Vec::new();
        loop {
            let response = server.configs().list_configs(request.clone()).await;
            let response = response.unwrap().into_inner();
            assert!(response.header.unwrap().revision > 0);
            assert!(response.configs.len() <= size as usize);
            // Only the last page says where to watch on.
            assert_eq!(
                response.resume_token.is_empty(),
                !response.next_page_token.is_empty()
            );
            found.extend(response.configs.into_iter().map(|config| config.key));
            request.page_token = response.next_page_token;
            if request.page_token.is_empty() {
                return found;
            }
        }
    };
    let mut below: Vec<String> = (0..25)
        .filter(|n| *n != 3)
        .map(|n| format!("app/{n:02}"))
        .collect();
    below.insert(7, "app/07/deep".into());
    assert_eq!(list("app/", 4).await, below);
    assert_eq!(list("app/", 25).await, below);
    assert_eq!(list("app/0", 100).await.len(), 10);
    assert_eq!(list("none", 100).await, Vec::<String>::new());
    let all = list("", 3).await;
    assert_eq!(all.len(), below.len() + 3);
    assert_eq!((&all[0][..], &all[all.len() - 1][..]), ("app", "zoo"));
    let request = ListConfigsRequest {
        prefix: "zoo".into(),
        omit_content: true,
        ..ListConfigsRequest::default()
    };
    let response = server.configs().list_configs(request).await.unwrap();
    let zoo = &response.into_inner().configs[0];
    assert_eq!((zoo.content.len(), zoo.size_bytes), (0, 1));
    server.stop().await;
}

async fn a_page_of_configs_ends_before_it_gets_too_large(backend: Backend) {
    let server = backend.server().await;
    for number in 0..40 {
        server
            .put(&format!("big/{number:02}"), vec![b'x'; 64 * 1024])
            .await;
    }
    let mut request = ListConfigsRequest {
        prefix: "big/".into(),
        page_size: 1000,
        ..ListConfigsRequest::default()
    };
    let (mut found, mut pages) = (0, 0);
    loop {
        let response = server.configs().list_configs(request.clone()).await;
        let response = response.unwrap().into_inner();
        found += response.configs.len();
        pages += 1;
        request.page_token = response.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!((found, pages), (40, 3));
    server.stop().await;
}

async fn namespaces_do_not_see_each_other(backend: Backend) {
    let server = backend.server().await;
    server.put("a", "one").await;
    let mut request = put("a", "other");
    request.namespace = "staging".into();
    let written = server.try_put(request).await.unwrap().config.unwrap();
    assert_eq!((&written.namespace[..], written.version), ("staging", 1));
    let mut request = get("a");
    request.namespace = "staging".into();
    assert_eq!(server.try_get(request).await.unwrap().content, "other");
    let mut request = get("a");
    request.namespace = "default".into();
    assert_eq!(server.try_get(request).await.unwrap().content, "one");
    let request = ListConfigsRequest {
        namespace: "stag".into(),
        ..ListConfigsRequest::default()
    };
    let response = server.configs().list_configs(request).await.unwrap();
    assert!(response.into_inner().configs.is_empty());
    server.stop().await;
}
