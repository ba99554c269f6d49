//! Schemas, and what they do to writes.

mod together;

use futures_util::future::join_all;
use stanchion_client::proto::{
    ConfigSchema, ConfigSchemaSelector, Consistency, ContentType, DeleteConfigSchemaRequest,
    DeleteNamespaceRequest, GetConfigSchemaRequest, ListConfigSchemasRequest, PutConfigRequest,
    PutConfigSchemaRequest, PutConfigSchemaResponse, config_schema_selector::Selector,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{delete, put, rollback};
use crate::support::server::{Backend, Server, assert_invalid, assert_status, on_both_stores};

on_both_stores! {
    a_content_must_satisfy_every_schema_that_covers_its_key,
    each_violation_is_told_with_its_place,
    a_refusal_fits_into_headers_whatever_the_content_has_in_it,
    a_schema_that_is_too_much_to_check_with_is_refused,
    a_rollback_and_a_deletion_under_a_schema,
    each_document_of_a_yaml_stream_is_checked_and_toml_too,
    a_schema_goes_round_through_put_get_list_and_delete,
    what_is_no_schema_is_refused,
    a_namespace_with_a_schema_is_not_empty,
    there_are_only_so_many_schemas,
}

const INTEGER: &str = r#"{"type": "integer"}"#;

fn key(key: &str) -> Option<ConfigSchemaSelector> {
    selector(Selector::Key(key.into()))
}

fn prefix(prefix: &str) -> Option<ConfigSchemaSelector> {
    selector(Selector::Prefix(prefix.into()))
}

fn selector(selector: Selector) -> Option<ConfigSchemaSelector> {
    Some(ConfigSchemaSelector {
        selector: Some(selector),
    })
}

fn json(key: &str, content: &str) -> PutConfigRequest {
    PutConfigRequest {
        content_type: ContentType::Json.into(),
        ..put(key, content)
    }
}

impl Server {
    async fn try_put_schema(
        &self,
        selector: Option<ConfigSchemaSelector>,
        schema: &str,
    ) -> Result<PutConfigSchemaResponse, Status> {
        let request = PutConfigSchemaRequest {
            selector,
            schema: schema.into(),
            ..PutConfigSchemaRequest::default()
        };
        let response = self.configs().put_config_schema(request).await?;
        Ok(response.into_inner())
    }

    async fn put_schema(
        &self,
        selector: Option<ConfigSchemaSelector>,
        schema: &str,
    ) -> ConfigSchema {
        let response = self.try_put_schema(selector, schema).await.unwrap();
        response.schema.unwrap()
    }

    async fn delete_schema(&self, selector: Option<ConfigSchemaSelector>) -> bool {
        let request = DeleteConfigSchemaRequest {
            selector,
            ..DeleteConfigSchemaRequest::default()
        };
        let response = self.configs().delete_config_schema(request).await;
        response.unwrap().into_inner().deleted
    }
}

fn violations(refused: &Status) -> Vec<String> {
    assert_status(refused, Code::FailedPrecondition, "SCHEMA_VIOLATED");
    let details = refused.get_details_bad_request().unwrap();
    let told = details.field_violations.into_iter();
    told.map(|violation| {
        assert_eq!(violation.field, "content");
        violation.description
    })
    .collect()
}

async fn a_content_must_satisfy_every_schema_that_covers_its_key(backend: Backend) {
    let server = backend.server().await;
    server.put_schema(key("db/port"), INTEGER).await;
    server
        .put_schema(prefix("db/p"), r#"{"minimum": 10}"#)
        .await;
    server
        .put_schema(prefix(""), r#"{"not": {"const": 13}}"#)
        .await;
    for (name, content, schemas) in [
        ("db/port", "12", &[][..]),
        ("db/port", "\"x\"", &["db/port"]),
        ("db/port", "1", &["db/p*"]),
        ("db/port", "1.5", &["db/p*", "db/port"]),
        ("db/port", "13", &["*"]),
        ("db/port/x", "\"x\"", &[]),
        ("db/port/x", "13", &["*"]),
        ("else", "1", &[]),
    ] {
        match server.try_put(json(name, content)).await {
            Ok(_) => assert!(schemas.is_empty(), "{name} {content}"),
            Err(refused) => {
                let told = violations(&refused);
                assert_eq!(told.len(), schemas.len(), "{told:?}");
                for (told, schema) in told.iter().zip(schemas) {
                    assert!(told.ends_with(&format!("(schema {schema})")), "{told}");
                }
            }
        }
    }
    // Text cannot satisfy a schema, so it does not get past one either.
    let refused = server.try_put(put("db/port", "12")).await.unwrap_err();
    assert_eq!(violations(&refused).len(), 3);
    let mut elsewhere = put("db/port", "text");
    elsewhere.namespace = "staging".into();
    server.try_put(elsewhere).await.unwrap();
    assert!(server.delete_schema(prefix("db/p")).await);
    server.try_put(json("db/port", "1")).await.unwrap();
    server.stop().await;
}

async fn each_violation_is_told_with_its_place(backend: Backend) {
    let server = backend.server().await;
    let schema = r#"{
        "properties": {"ports": {"items": {"type": "integer"}}, "host": {"type": "string"}},
        "required": ["host", "user"]
    }"#;
    server.put_schema(key("db"), schema).await;
    let content = r#"{"ports": [1, "x", 3, null], "host": 7}"#;
    let refused = server.try_put(json("db", content)).await.unwrap_err();
    let told = violations(&refused);
    for place in ["/ports/1: ", "/ports/3: ", "/host: ", "/: "] {
        assert!(
            told.iter().any(|told| told.starts_with(place)),
            "{place} is not among {told:?}"
        );
    }
    // Not without end, and each not at any length.
    let many = format!(r#"{{"ports": [{}"x"]}}"#, r#""x","#.repeat(500));
    let refused = server.try_put(json("db", &many)).await.unwrap_err();
    assert_eq!(violations(&refused).len(), 20);
    let info = refused.get_details_error_info().unwrap();
    assert_eq!(info.metadata["violations"], "503");
    let long = format!(
        r#"{{"host": "h", "user": 1, "ports": "{}"}}"#,
        "x".repeat(10_000)
    );
    server
        .put_schema(key("db"), r#"{"properties": {"ports": {"maxLength": 9}}}"#)
        .await;
    let refused = server.try_put(json("db", &long)).await.unwrap_err();
    assert!(violations(&refused)[0].len() < 500);
    assert!(server.versions("db").await.is_empty());
    server.stop().await;
}

async fn a_refusal_fits_into_headers_whatever_the_content_has_in_it(backend: Backend) {
    let server = backend.server().await;
    let schema = r#"{"additionalProperties": {"additionalProperties": false}}"#;
    server.put_schema(key("a"), schema).await;
    let long = "k".repeat(15_000);
    let content = format!(r#"{{"{long}1": {{"{long}2": 1}}, "{long}3": {{"b": 1}}}}"#);
    let refused = server.try_put(json("a", &content)).await.unwrap_err();
    let told = violations(&refused);
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|told| told.len() < 1000), "{told:?}");
    let many = (0..20).map(|number| format!(r#""{number}{}": {{"b": 1}}"#, &long[..500]));
    let content = format!("{{{}}}", many.collect::<Vec<_>>().join(", "));
    let refused = server.try_put(json("a", &content)).await.unwrap_err();
    assert!(violations(&refused).concat().len() < 5000);
    let info = refused.get_details_error_info().unwrap();
    assert_eq!(info.metadata["violations"], "20");
    let mut twice = put("b", format!("{long} = 1\n{long} = 2\n"));
    twice.content_type = ContentType::Toml.into();
    let refused = server.try_put(twice).await.unwrap_err();
    assert_status(&refused, Code::InvalidArgument, "CONTENT_MALFORMED");
    server.stop().await;
}

async fn a_schema_that_is_too_much_to_check_with_is_refused(backend: Backend) {
    let server = backend.server().await;
    let links = (0..40).map(|at| {
        let next = format!(r##"{{"$ref": "#/$defs/a{}"}}"##, at + 1);
        format!(r#""a{at}": {{"allOf": [{next}, {next}]}}, "#)
    });
    let links: String = links.collect();
    let bomb = format!(r##"{{"$defs": {{{links}"a40": true}}, "$ref": "#/$defs/a0"}}"##);
    let refused = server.try_put_schema(key("a"), &bomb).await.unwrap_err();
    assert_invalid(&refused, "schema");
    server.stop().await;
}

async fn a_rollback_and_a_deletion_under_a_schema(backend: Backend) {
    let server = backend.server().await;
    server.try_put(json("a", "\"text\"")).await.unwrap();
    server.try_put(json("a", "2")).await.unwrap();
    server.put_schema(prefix("a"), INTEGER).await;
    let refused = server.try_rollback(rollback("a", 1)).await.unwrap_err();
    assert_status(&refused, Code::FailedPrecondition, "SCHEMA_VIOLATED");
    let details = refused.get_details_bad_request().unwrap();
    assert_eq!(details.field_violations[0].field, "version");
    // What is there already stays, and may be said again.
    server.try_delete(delete("a")).await.unwrap();
    let back = server.try_rollback(rollback("a", 2)).await.unwrap();
    assert_eq!(back.config.unwrap().version, 4);
    server.put_schema(prefix("a"), r#"{"type": "null"}"#).await;
    assert!(server.try_put(json("a", "2")).await.unwrap().unchanged);
    assert_eq!(server.version_numbers("a").await, [4, 3, 2, 1]);
    server.stop().await;
}

async fn each_document_of_a_yaml_stream_is_checked_and_toml_too(backend: Backend) {
    let server = backend.server().await;
    server
        .put_schema(prefix(""), r#"{"required": ["a"], "type": "object"}"#)
        .await;
    for (content_type, content, good) in [
        (ContentType::Yaml, "a: 1\n---\na: 2\n", true),
        (ContentType::Yaml, "a: 1\n---\nb: 2\n", false),
        (ContentType::Yaml, "", false),
        (ContentType::Toml, "a = 1\n", true),
        (ContentType::Toml, "b = 1\n", false),
    ] {
        let mut request = put("x", content);
        request.content_type = content_type.into();
        let put = server.try_put(request).await;
        assert_eq!(put.is_ok(), good, "{content:?}");
    }
    server.stop().await;
}

async fn a_schema_goes_round_through_put_get_list_and_delete(backend: Backend) {
    let server = backend.server().await;
    let request = PutConfigSchemaRequest {
        selector: prefix("db/"),
        schema: INTEGER.into(),
        description: "ports".into(),
        expected_revision: Some(0),
        request_id: "r1".into(),
        actor: "ann".into(),
        ..PutConfigSchemaRequest::default()
    };
    let would = PutConfigSchemaRequest {
        validate_only: true,
        ..request.clone()
    };
    let mut configs = server.configs();
    let answer = configs.put_config_schema(would).await.unwrap().into_inner();
    assert_eq!(
        (answer.unchanged, answer.schema.unwrap().revision),
        (false, 0)
    );
    let put = async |request| {
        let answer = server.configs().put_config_schema(request).await?;
        Ok::<_, Status>(answer.into_inner())
    };
    let first = put(request.clone()).await.unwrap();
    let schema = first.schema.unwrap();
    assert_eq!(schema.revision, first.header.unwrap().revision);
    assert_eq!(
        (&schema.author[..], &schema.description[..]),
        ("ann", "ports")
    );
    // The same request once more, and the same words in another one.
    assert_eq!(
        put(request.clone()).await.unwrap().schema,
        Some(schema.clone())
    );
    let mut again = request.clone();
    (again.request_id, again.expected_revision) = ("r2".into(), None);
    assert!(put(again.clone()).await.unwrap().unchanged);
    (again.schema, again.expected_revision) = ("true".into(), Some(schema.revision - 1));
    let stale = put(again).await.unwrap_err();
    assert_status(&stale, Code::Aborted, "REVISION_MISMATCH");

    let get = async |selector| {
        let request = GetConfigSchemaRequest {
            selector,
            consistency: Consistency::Linearizable.into(),
            ..GetConfigSchemaRequest::default()
        };
        let answer = server.configs().get_config_schema(request).await?;
        Ok::<_, Status>(answer.into_inner().schema.unwrap())
    };
    assert_eq!(get(prefix("db/")).await.unwrap(), schema);
    let unknown = get(key("db/port")).await.unwrap_err();
    assert_status(&unknown, Code::NotFound, "CONFIG_SCHEMA_NOT_FOUND");

    server.put_schema(key("db"), INTEGER).await;
    server.put_schema(prefix("d"), INTEGER).await;
    let list = async |key: &str, page_size| {
        let mut request = ListConfigSchemasRequest {
            key: key.into(),
            page_size,
            ..ListConfigSchemasRequest::default()
        };
        let mut found = Vec::new();
        loop {
            let answer = server.configs().list_config_schemas(request.clone()).await;
            let answer = answer.unwrap().into_inner();
            found.extend(answer.schemas.into_iter().map(|schema| schema.selector));
            request.page_token = answer.next_page_token;
            if request.page_token.is_empty() {
                return found;
            }
        }
    };
    assert_eq!(list("", 1).await, [prefix("d"), key("db"), prefix("db/")]);
    assert_eq!(list("db", 100).await, [prefix("d"), key("db")]);
    assert!(list("x", 100).await.is_empty());
    assert!(server.delete_schema(prefix("db/")).await);
    assert!(!server.delete_schema(prefix("db/")).await);
    assert_eq!(list("", 100).await, [prefix("d"), key("db")]);
    server.stop().await;
}

async fn what_is_no_schema_is_refused(backend: Backend) {
    let server = backend.server().await;
    for schema in [
        "",
        "{",
        "7",
        r#"{"type": "strin"}"#,
        r#"{"pattern": "(a+"}"#,
        r#"{"$ref": "http://127.0.0.1:1/schema.json"}"#,
        r#"{"$ref": "file:///etc/hostname"}"#,
        &format!("{{}}{}", " ".repeat(64 * 1024)),
    ] {
        let refused = server.try_put_schema(key("a"), schema).await.unwrap_err();
        assert_invalid(&refused, "schema");
    }
    for (wrong, field) in [
        (None, "selector"),
        (Some(ConfigSchemaSelector::default()), "selector"),
        (key("a//b"), "selector.key"),
        (prefix("/"), "selector.prefix"),
    ] {
        let refused = server.try_put_schema(wrong, "true").await.unwrap_err();
        assert_invalid(&refused, field);
    }
    server.stop().await;
}

async fn a_namespace_with_a_schema_is_not_empty(backend: Backend) {
    let server = backend.server().await;
    server.put_schema(prefix(""), "true").await;
    let request = DeleteNamespaceRequest {
        namespace: "default".into(),
        ..DeleteNamespaceRequest::default()
    };
    let refused = server.operators().delete_namespace(request.clone()).await;
    let refused = refused.unwrap_err();
    assert_status(&refused, Code::FailedPrecondition, "NAMESPACE_NOT_EMPTY");
    assert!(refused.message().contains("1 schemas"), "{refused:?}");
    server.delete_schema(prefix("")).await;
    server.operators().delete_namespace(request).await.unwrap();
    server.stop().await;
}

async fn there_are_only_so_many_schemas(backend: Backend) {
    let mut settings = backend.settings();
    settings.domain.max_schemas = 3;
    let server = backend.server_with(settings).await;
    let names: Vec<String> = (0..8).map(|number| format!("k{number}")).collect();
    let puts = names
        .iter()
        .map(|name| server.try_put_schema(key(name), "true"));
    let (good, refused): (Vec<_>, Vec<_>) =
        join_all(puts).await.into_iter().partition(Result::is_ok);
    assert_eq!((good.len(), refused.len()), (3, 5));
    for refused in refused {
        let refused = refused.unwrap_err();
        assert_status(&refused, Code::ResourceExhausted, "TOO_MANY_SCHEMAS");
    }
    server.stop().await;
}
