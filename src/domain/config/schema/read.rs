//! Reading schemas.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    cache::Freshness,
    domain::{
        config::Configs,
        error::{Error, Resource},
        names::{ConfigKey, Namespace},
        state::View,
    },
};

use super::{ConfigSchema, SchemaPath};

/// About how many bytes a page of schemas has.
const PAGE_BYTES: usize = 1024 * 1024;

/// Which schemas to list.
#[derive(Debug, Clone)]
pub struct SchemasPage {
    /// In which namespace.
    pub namespace: Namespace,
    /// Only those that cover this key.
    pub covering: Option<ConfigKey>,
    /// Only those after this path.
    pub after: Option<Bytes>,
    /// At most this many.
    pub size: usize,
}

// === impl Configs ===

impl Configs {
    /// Reads a schema. Errors: [`Error::NotFound`].
    pub async fn schema(
        &self,
        path: &SchemaPath,
        freshness: Freshness,
    ) -> Result<(Arc<ConfigSchema>, View), Error> {
        let view = self.core.cache.read(freshness).await?;
        match view.state.schemas.get(path).cloned() {
            Some(schema) => Ok((schema, view)),
            None => Err(Error::NotFound {
                resource: Resource::ConfigSchema,
                name: path.path(),
            }),
        }
    }

    /// Lists schemas in the order of their paths. Says whether more follow.
    pub async fn schemas(
        &self,
        page: SchemasPage,
        freshness: Freshness,
    ) -> Result<(Vec<Arc<ConfigSchema>>, bool, View), Error> {
        let view = self.core.cache.read(freshness).await?;
        let schemas = view.state.schemas.of(&page.namespace, page.after.as_ref());
        let wanted = schemas.filter(|schema| {
            let covers = |key| schema.path.selector.covers(key);
            page.covering.as_ref().is_none_or(covers)
        });
        let (mut schemas, mut bytes, mut more) = (Vec::new(), 0, false);
        for schema in wanted {
            if schemas.len() == page.size || bytes > PAGE_BYTES {
                more = true;
                break;
            }
            bytes += schema.schema.len();
            schemas.push(schema.clone());
        }
        Ok((schemas, more, view))
    }
}
