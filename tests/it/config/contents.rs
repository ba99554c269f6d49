//! Contents that are not what their type says.

use stanchion_client::proto::{ContentType, PutConfigRequest};
use tonic::Code;
use tonic_types::StatusExt;

use super::{put, rollback};
use crate::support::server::{Backend, assert_invalid, assert_status, on_both_stores};

on_both_stores! {
    a_malformed_content_of_each_type_is_refused_with_its_place,
    a_content_that_is_what_its_type_says_is_taken,
    bombs_are_refused_at_once,
    a_malformed_content_is_refused_before_anything_is_written,
}

fn typed(key: &str, content_type: ContentType, content: impl AsRef<[u8]>) -> PutConfigRequest {
    let mut request = put(key, content);
    request.content_type = content_type.into();
    request
}

async fn a_malformed_content_of_each_type_is_refused_with_its_place(backend: Backend) {
    let server = backend.server().await;
    let cases: [(ContentType, &[u8], [&str; 2]); 8] = [
        (ContentType::Json, b"{\n  \"a\": 1,\n}", ["3", "1"]),
        (ContentType::Json, b"", ["1", "0"]),
        (ContentType::Yaml, b"a: 1\na: 2\n", ["2", "1"]),
        (ContentType::Toml, b"a = 1\nb = = 2\n", ["2", "5"]),
        (ContentType::Properties, b"a=1\nb=\\u00zz", ["2", "3"]),
        (ContentType::Text, b"fine\n\xff", ["2", "1"]),
        (ContentType::Xml, b"<a>\xff</a>", ["1", "4"]),
        (ContentType::Unspecified, b"\xff", ["1", "1"]),
    ];
    for (content_type, content, place) in cases {
        let refused = server.try_put(typed("a", content_type, content)).await;
        let refused = refused.unwrap_err();
        assert_invalid(&refused, "content");
        assert_status(&refused, Code::InvalidArgument, "CONTENT_MALFORMED");
        let info = refused.get_details_error_info().unwrap();
        let found = ["line", "column"].map(|name| info.metadata[name].as_str());
        assert_eq!(found, place, "{content_type:?}: {}", refused.message());
    }
    assert!(server.versions("a").await.is_empty());
    server.stop().await;
}

async fn a_content_that_is_what_its_type_says_is_taken(backend: Backend) {
    let server = backend.server().await;
    let cases: [(ContentType, &[u8]); 9] = [
        (ContentType::Json, b"[1, {\"a\": null}]"),
        (
            ContentType::Yaml,
            b"a: &x [1]\nb: *x\n---\nsecond: document\n",
        ),
        (ContentType::Yaml, b""),
        (ContentType::Toml, b"at = 1979-05-27\n[a.b]\nc = inf\n"),
        (ContentType::Properties, b"a=1\nb = \\u00e9\n"),
        (ContentType::Xml, b"<a/>"),
        (ContentType::Text, "\u{e9}\0".as_bytes()),
        (ContentType::Binary, b"\xff\xfe"),
        (ContentType::Unspecified, b""),
    ];
    for (number, (content_type, content)) in (1..).zip(cases) {
        let written = server.try_put(typed("a", content_type, content)).await;
        assert_eq!(written.unwrap().config.unwrap().version, number);
    }
    server.stop().await;
}

async fn bombs_are_refused_at_once(backend: Backend) {
    let server = backend.server().await;
    let levels = (1..10).map(|level| {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        format!("a{level}: &a{level} [{aliases}]\n")
    });
    let laughs = "a0: &a0 [ha]\n".to_owned() + &levels.collect::<String>();
    let deep = "[".repeat(30_000) + &"]".repeat(30_000);
    for (content_type, content) in [
        (ContentType::Yaml, laughs.as_str()),
        (ContentType::Yaml, &deep),
        (ContentType::Json, &deep),
        (ContentType::Toml, &format!("a = {deep}")),
    ] {
        let refused = server.try_put(typed("a", content_type, content)).await;
        assert_status(
            &refused.unwrap_err(),
            Code::InvalidArgument,
            "CONTENT_MALFORMED",
        );
    }
    server.stop().await;
}

async fn a_malformed_content_is_refused_before_anything_is_written(backend: Backend) {
    let server = backend.server().await;
    server
        .try_put(typed("a", ContentType::Json, "1"))
        .await
        .unwrap();
    let mut request = typed("a", ContentType::Json, "{");
    request.request_id = "r1".into();
    server.try_put(request).await.unwrap_err();
    // Its name is still free, and the version not taken.
    let mut request = typed("a", ContentType::Json, "2");
    request.request_id = "r1".into();
    let written = server.try_put(request).await.unwrap().config.unwrap();
    assert_eq!(written.version, 2);
    server.try_rollback(rollback("a", 1)).await.unwrap();
    assert_eq!(server.version_numbers("a").await, [3, 2, 1]);
    server.stop().await;
}
