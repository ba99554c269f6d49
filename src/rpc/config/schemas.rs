//! Schemas: what their requests and answers look like.

use stanchion_client::proto::{
    self, DeleteConfigSchemaRequest, DeleteConfigSchemaResponse, GetConfigSchemaRequest,
    GetConfigSchemaResponse, ListConfigSchemasRequest, ListConfigSchemasResponse,
    PutConfigSchemaRequest, PutConfigSchemaResponse, config_schema_selector::Selector,
};
use tonic::{Response, Status};

use crate::{
    domain::{
        audit::Caller,
        config::{ConfigPrefix, ConfigSchema, SchemaPath, SchemaSelector, SchemasPage},
        hash64,
        names::ConfigKey,
    },
    rpc::{
        convert::{Violations, delete, put},
        page, status,
    },
};

use super::{ConfigHandler, decode};

pub(super) async fn put(
    handler: &ConfigHandler,
    request: PutConfigSchemaRequest,
    caller: Caller,
) -> Result<Response<PutConfigSchemaResponse>, Status> {
    let mut v = Violations::new();
    let path = path(&mut v, &request.namespace, request.selector);
    let description = decode::description(&mut v, "description", request.description);
    let schema = path.map(|path| ConfigSchema::new(path, request.schema, description));
    let put = put!(v, request, caller, schema);
    let done = handler.configs.put_schema(put).await.map_err(status::of)?;
    Ok(Response::new(PutConfigSchemaResponse {
        header: Some(handler.context.header.at(done.revision)),
        schema: Some(wire_schema(&done.value)),
        unchanged: !done.changed,
    }))
}

pub(super) async fn get(
    handler: &ConfigHandler,
    request: GetConfigSchemaRequest,
) -> Result<Response<GetConfigSchemaResponse>, Status> {
    let mut v = Violations::new();
    let path = path(&mut v, &request.namespace, request.selector);
    let freshness = v.freshness(request.consistency, request.min_revision);
    let path = v.give(path)?;
    let found = handler.configs.schema(&path, freshness).await;
    let (schema, view) = found.map_err(status::of)?;
    Ok(Response::new(GetConfigSchemaResponse {
        header: Some(handler.context.header.of(&view)),
        schema: Some(wire_schema(&schema)),
    }))
}

pub(super) async fn list(
    handler: &ConfigHandler,
    request: ListConfigSchemasRequest,
) -> Result<Response<ListConfigSchemasResponse>, Status> {
    let mut v = Violations::new();
    let namespace = v.namespace(&request.namespace);
    let covering = match request.key.as_str() {
        "" => None,
        key => v.take("key", ConfigKey::parse(key)),
    };
    let size = v.page_size(request.page_size);
    let freshness = v.freshness(request.consistency, request.min_revision);
    let namespace = v.give(namespace)?;
    let digest = hash64(format!("config schemas\n{namespace}\n{}", request.key));
    let page = SchemasPage {
        namespace,
        covering,
        after: page::after(&request.page_token, digest)?,
        size,
    };
    let found = handler.configs.schemas(page, freshness).await;
    let (schemas, more, view) = found.map_err(status::of)?;
    let last = schemas.last().filter(|_| more);
    Ok(Response::new(ListConfigSchemasResponse {
        header: Some(handler.context.header.of(&view)),
        next_page_token: last.map_or(String::new(), |last| {
            page::token(last.path.path().as_bytes(), digest)
        }),
        schemas: schemas.iter().map(|schema| wire_schema(schema)).collect(),
    }))
}

pub(super) async fn delete(
    handler: &ConfigHandler,
    request: DeleteConfigSchemaRequest,
    caller: Caller,
) -> Result<Response<DeleteConfigSchemaResponse>, Status> {
    let mut v = Violations::new();
    let path = path(&mut v, &request.namespace, request.selector);
    let delete = delete!(v, request, caller, path);
    let deleted = handler.configs.delete_schema(delete).await;
    let deleted = deleted.map_err(status::of)?;
    Ok(Response::new(DeleteConfigSchemaResponse {
        header: Some(handler.context.header.at(deleted.revision)),
        deleted: deleted.changed,
    }))
}

fn path(
    v: &mut Violations,
    namespace: &str,
    selector: Option<proto::ConfigSchemaSelector>,
) -> Option<SchemaPath> {
    let namespace = v.namespace(namespace);
    let selector = match selector.and_then(|selector| selector.selector) {
        Some(Selector::Key(key)) => v
            .take("selector.key", ConfigKey::parse(&key))
            .map(SchemaSelector::Key),
        Some(Selector::Prefix(prefix)) => v
            .take("selector.prefix", ConfigPrefix::parse(&prefix))
            .map(SchemaSelector::Prefix),
        None => {
            v.add("selector", "must have a key or a prefix");
            None
        }
    };
    Some(SchemaPath {
        namespace: namespace?,
        selector: selector?,
    })
}

fn wire_schema(schema: &ConfigSchema) -> proto::ConfigSchema {
    let selector = match &schema.path.selector {
        SchemaSelector::Key(key) => Selector::Key(key.to_string()),
        SchemaSelector::Prefix(prefix) => Selector::Prefix(prefix.to_string()),
    };
    proto::ConfigSchema {
        namespace: schema.path.namespace.to_string(),
        selector: Some(proto::ConfigSchemaSelector {
            selector: Some(selector),
        }),
        schema: schema.schema.clone(),
        description: schema.description.clone(),
        author: schema.author.to_string(),
        update_time: Some(schema.update_time.into()),
        revision: schema.mod_revision,
    }
}
