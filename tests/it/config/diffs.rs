//! What differs between versions, and which version each line is from.

use stanchion_client::proto::{
    BlameConfigRequest, BlameConfigResponse, ConfigSide, ContentType, DiffConfigVersionsRequest,
    DiffConfigVersionsResponse, GivenContent, config_side::Side,
};
use tonic::{Code, Status};

use super::{delete, put, rollback};
use crate::support::server::{Backend, Server, assert_invalid, assert_status, on_both_stores};

on_both_stores! {
    versions_are_compared_with_each_other_and_with_what_is_given,
    structured_contents_are_compared_as_what_they_say,
    binary_contents_are_only_said_to_differ,
    a_deletion_takes_everything_and_what_comes_back_brings_it,
    comparisons_that_cannot_be_are_refused,
    each_line_is_from_the_version_that_brought_it,
    lines_are_not_looked_for_in_what_is_not_kept,
    only_so_many_versions_are_looked_at,
    lines_of_what_has_none_are_refused,
}

async fn versions_are_compared_with_each_other_and_with_what_is_given(backend: Backend) {
    let server = backend.server().await;
    for content in ["a\nb\nc\n", "a\nB\nc\n", "a\nB\nC\n"] {
        server.put("a", content).await;
    }
    let last = server.diff(None, None).await.unwrap();
    let numbers = [&last.from, &last.to].map(|v| v.as_ref().unwrap().version);
    assert_eq!(numbers, [2, 3]);
    assert_eq!(
        last.unified,
        "--- a version 2\n+++ a version 3\n@@ -1,3 +1,3 @@\n a\n B\n-c\n+C\n"
    );
    let content = last.to.unwrap().content;
    assert!(content.is_empty() && last.json_patch.is_empty() && !last.equal);
    let since = server.diff(version(1), None).await.unwrap();
    assert!(since.unified.contains("-b\n-c\n+B\n+C\n"), "{since:?}");
    let back = server.diff(version(3), version(1)).await.unwrap();
    assert!(back.unified.contains("-B\n-C\n+b\n+c\n"), "{back:?}");
    let first = server.diff(None, version(1)).await.unwrap();
    assert!(first.from.is_none(), "{first:?}");
    assert!(
        first
            .unified
            .starts_with("--- a nothing\n+++ a version 1\n@@ -0,0 +1,3 @@\n+a\n")
    );
    let same = server.diff(version(2), version(2)).await.unwrap();
    assert!(same.equal && same.unified.is_empty());

    let file = given("a\nB\nd\n", ContentType::Text);
    let file = server.diff(None, file).await.unwrap();
    assert_eq!((file.from.unwrap().version, file.to), (3, None));
    assert!(
        file.unified
            .starts_with("--- a version 3\n+++ a as given\n")
    );
    assert!(file.unified.ends_with("-C\n+d\n"));
    let mut request = comparison(None, given("new\n", ContentType::Text));
    request.key = "none".into();
    let new = server.compare(request).await.unwrap();
    assert!(new.unified.ends_with("@@ -0,0 +1 @@\n+new\n"));
    server.stop().await;
}

async fn structured_contents_are_compared_as_what_they_say(backend: Backend) {
    let server = backend.server().await;
    for (content, content_type) in [
        (
            "{\"limits\": {\"max\": 1}, \"on\": true}",
            ContentType::Json,
        ),
        (
            "{\"limits\": {\"max\": 2}, \"on\": true}",
            ContentType::Json,
        ),
        ("limits:\n  max: 2\non: true\n", ContentType::Yaml),
        ("[limits]\nmax = 2\nmin = 1\n", ContentType::Toml),
        ("limits = 2", ContentType::Text),
    ] {
        let mut request = put("a", content);
        request.content_type = content_type.into();
        server.try_put(request).await.unwrap();
    }
    let patches = [
        (1, r#"[{"op":"replace","path":"/limits/max","value":2}]"#),
        // The same in other words.
        (2, "[]"),
        (
            3,
            r#"[{"op":"add","path":"/limits/min","value":1},{"op":"remove","path":"/on"}]"#,
        ),
        (4, ""),
    ];
    for (from, patch) in patches {
        let diff = server.diff(version(from), version(from + 1)).await.unwrap();
        let parsed = |text: &str| match text {
            "" => serde_json::Value::Null,
            text => serde_json::from_str(text).unwrap(),
        };
        let (mut found, mut expected) = (parsed(&diff.json_patch), parsed(patch));
        for steps in [&mut found, &mut expected] {
            // Those that touch different places may come in any order.
            if let Some(steps) = steps.as_array_mut() {
                steps.sort_by_key(|step| step["path"].to_string());
            }
        }
        assert_eq!(found, expected, "from {from}");
        assert!(!diff.equal && !diff.unified.is_empty() && !diff.coarse);
    }
    // What is not well-formed, or several documents, has lines and no patch.
    for (content, content_type) in [
        ("{\"limits\": ", ContentType::Json),
        ("a: 1\n---\nb: 1\n", ContentType::Yaml),
    ] {
        let diff = server.diff(version(1), given(content, content_type)).await;
        let diff = diff.unwrap();
        assert!(diff.json_patch.is_empty() && !diff.unified.is_empty());
    }
    server.stop().await;
}

async fn binary_contents_are_only_said_to_differ(backend: Backend) {
    let server = backend.server().await;
    server.put("a", "text").await;
    for content in [b"\xff\x00".as_slice(), b"\xff\x01\x02"] {
        let mut request = put("a", content);
        request.content_type = ContentType::Binary.into();
        server.try_put(request).await.unwrap();
    }
    for (from, sizes) in [(1, [4, 2]), (2, [2, 3])] {
        let diff = server.diff(version(from), version(from + 1)).await.unwrap();
        assert!(diff.binary && !diff.equal);
        assert_eq!((&diff.unified[..], &diff.json_patch[..]), ("", ""));
        let (from, to) = (diff.from.unwrap(), diff.to.unwrap());
        assert_eq!([from.size_bytes, to.size_bytes], sizes);
        assert_ne!(from.sha256, to.sha256);
    }
    server.stop().await;
}

async fn a_deletion_takes_everything_and_what_comes_back_brings_it(backend: Backend) {
    let server = backend.server().await;
    server.put("a", "1\n").await;
    server.try_delete(delete("a")).await.unwrap();
    let gone = server.diff(None, None).await.unwrap();
    assert_eq!(gone.to.unwrap().version, 2);
    assert!(
        gone.unified.ends_with("@@ -1 +0,0 @@\n-1\n"),
        "{}",
        gone.unified
    );
    server.try_rollback(rollback("a", 1)).await.unwrap();
    let back = server.diff(None, None).await.unwrap();
    assert!(back.unified.ends_with("@@ -0,0 +1 @@\n+1\n"));
    server.stop().await;
}

async fn comparisons_that_cannot_be_are_refused(backend: Backend) {
    let server = backend.server().await;
    let never = server.diff(None, None).await.unwrap_err();
    assert_status(&never, Code::NotFound, "CONFIG_NOT_FOUND");
    server.put("a", "1").await;
    server.put("a", "2").await;
    let unknown = server.diff(version(1), version(9)).await.unwrap_err();
    assert_status(&unknown, Code::NotFound, "CONFIG_VERSION_NOT_FOUND");
    server.prune("a", 1, 1).await;
    let pruned = server.diff(None, None).await.unwrap_err();
    assert_status(&pruned, Code::NotFound, "CONFIG_VERSION_NOT_FOUND");
    let limit = server.app().core.settings.max_config_bytes;
    let large = given(&"x".repeat(limit + 1), ContentType::Text);
    for (side, field) in [
        (version(0), "to.version"),
        (Some(ConfigSide { side: None }), "to"),
        (large, "to.given.content"),
    ] {
        let refused = server.diff(version(1), side).await.unwrap_err();
        assert_invalid(&refused, field);
    }
    server.stop().await;
}

async fn each_line_is_from_the_version_that_brought_it(backend: Backend) {
    let server = backend.server().await;
    for (author, content) in [
        ("ann", "a\nb\nc\n"),
        ("bob", "a\nb\nc\nd\n"),
        ("ann", "top\na\nB\nc\nd\n"),
        ("eve", "a\nB\nd\nend"),
    ] {
        let mut request = put("a", content);
        request.actor = author.into();
        request.comment = format!("by {author}");
        server.try_put(request).await.unwrap();
    }
    let blame = server.blame("a", 0).await.unwrap();
    assert_eq!(of_lines(&blame), [1, 3, 2, 4]);
    assert!(!blame.cut_off);
    let shown = blame.version.unwrap();
    assert_eq!(
        (shown.version, &shown.content[..]),
        (4, &b"a\nB\nd\nend"[..])
    );
    let said: Vec<_> = blame
        .versions
        .iter()
        .map(|v| (v.version, &v.author[..], &v.comment[..], v.content.len()))
        .collect();
    assert_eq!(
        said,
        [
            (4, "eve", "by eve", 0),
            (3, "ann", "by ann", 0),
            (2, "bob", "by bob", 0),
            (1, "ann", "by ann", 0)
        ]
    );
    let former = server.blame("a", 2).await.unwrap();
    assert_eq!(of_lines(&former), [1, 1, 1, 2]);
    assert_eq!(former.lines.len(), 2);

    // Whoever brings something back brings it anew.
    server.try_delete(delete("a")).await.unwrap();
    let gone = server.blame("a", 0).await.unwrap_err();
    assert_status(&gone, Code::NotFound, "CONFIG_NOT_FOUND");
    server.try_rollback(rollback("a", 4)).await.unwrap();
    let back = server.blame("a", 0).await.unwrap();
    assert_eq!(of_lines(&back), [6, 6, 6, 6]);
    server.stop().await;
}

async fn lines_are_not_looked_for_in_what_is_not_kept(backend: Backend) {
    let server = backend.server().await;
    for content in ["a\n", "a\nb\n", "a\nb\nc\n", "a\nb\nc\nd\n"] {
        server.put("a", content).await;
    }
    server.prune("a", 1, 2).await;
    let blame = server.blame("a", 0).await.unwrap();
    assert_eq!(of_lines(&blame), [3, 3, 3, 4]);
    assert!(blame.cut_off);
    server.stop().await;
}

async fn only_so_many_versions_are_looked_at(backend: Backend) {
    let server = backend.server().await;
    for number in 1..=103 {
        server.put("a", format!("old\n{number}\n")).await;
    }
    let blame = server.blame("a", 0).await.unwrap();
    assert_eq!(of_lines(&blame), [4, 103]);
    assert!(blame.cut_off);
    let blame = server.blame("a", 100).await.unwrap();
    assert_eq!(of_lines(&blame), [1, 100]);
    assert!(!blame.cut_off);
    server.stop().await;
}

async fn lines_of_what_has_none_are_refused(backend: Backend) {
    let server = backend.server().await;
    let never = server.blame("a", 0).await.unwrap_err();
    assert_status(&never, Code::NotFound, "CONFIG_NOT_FOUND");
    let mut request = put("a", b"\xff");
    request.content_type = ContentType::Binary.into();
    server.try_put(request).await.unwrap();
    let binary = server.blame("a", 0).await.unwrap_err();
    assert_status(&binary, Code::FailedPrecondition, "CONFIG_NOT_TEXT");
    server.put("a", "text").await;
    let blame = server.blame("a", 0).await.unwrap();
    assert_eq!((of_lines(&blame), blame.cut_off), (vec![2], false));
    let unknown = server.blame("a", 9).await.unwrap_err();
    assert_status(&unknown, Code::NotFound, "CONFIG_VERSION_NOT_FOUND");
    assert_invalid(&server.blame("a", -1).await.unwrap_err(), "version");
    server.put("empty", "").await;
    assert!(server.blame("empty", 0).await.unwrap().lines.is_empty());
    server.stop().await;
}

impl Server {
    async fn diff(
        &self,
        from: Option<ConfigSide>,
        to: Option<ConfigSide>,
    ) -> Result<DiffConfigVersionsResponse, Status> {
        self.compare(comparison(from, to)).await
    }

    async fn compare(
        &self,
        request: DiffConfigVersionsRequest,
    ) -> Result<DiffConfigVersionsResponse, Status> {
        let answer = self.configs().diff_config_versions(request).await?;
        Ok(answer.into_inner())
    }

    async fn blame(&self, key: &str, version: i64) -> Result<BlameConfigResponse, Status> {
        let request = BlameConfigRequest {
            key: key.into(),
            version,
            ..BlameConfigRequest::default()
        };
        let answer = self.configs().blame_config(request).await?;
        Ok(answer.into_inner())
    }
}

fn comparison(from: Option<ConfigSide>, to: Option<ConfigSide>) -> DiffConfigVersionsRequest {
    DiffConfigVersionsRequest {
        key: "a".into(),
        from,
        to,
        ..DiffConfigVersionsRequest::default()
    }
}

fn version(number: i64) -> Option<ConfigSide> {
    Some(ConfigSide {
        side: Some(Side::Version(number)),
    })
}

fn given(content: &str, content_type: ContentType) -> Option<ConfigSide> {
    let given = GivenContent {
        content: content.to_owned().into(),
        content_type: content_type.into(),
    };
    Some(ConfigSide {
        side: Some(Side::Given(given)),
    })
}

/// The version of each line. Fails unless the lines are numbered one after the other.
fn of_lines(blame: &BlameConfigResponse) -> Vec<i64> {
    let mut next = 1;
    let lines = blame.lines.iter().flat_map(|lines| {
        assert_eq!(lines.first_line, next);
        next += lines.line_count;
        vec![lines.version; lines.line_count as usize]
    });
    lines.collect()
}
