//! The stored form of schemas.

use bytes::Bytes;

use crate::{
    domain::config::{ConfigSchema, SchemaPath},
    proto::store as wire,
    store::KeyValue,
};

use super::{DecodeError, FORMAT, decode, encode, label, time};

/// Reads a schema.
pub fn config_schema(path: SchemaPath, kv: &KeyValue) -> Result<ConfigSchema, DecodeError> {
    let record: wire::ConfigSchema = decode(kv)?;
    Ok(ConfigSchema {
        author: label(&record.author, "author")?,
        update_time: time(record.update_time, "update_time")?,
        request_id: record.request_id,
        format: record.format,
        mod_revision: kv.mod_revision,
        ..ConfigSchema::new(path, record.schema, record.description)
    })
}

/// Writes a schema.
pub fn encode_config_schema(schema: &ConfigSchema) -> Bytes {
    encode(&wire::ConfigSchema {
        format: FORMAT,
        schema: schema.schema.clone(),
        description: schema.description.clone(),
        author: schema.author.to_string(),
        update_time: Some(schema.update_time.into()),
        request_id: schema.request_id.clone(),
    })
}

/// Writes the mark that a schema was put.
pub fn encode_schema_change() -> Bytes {
    encode(&wire::ConfigSchemaChange { format: FORMAT })
}
