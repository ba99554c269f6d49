//! Schemas for the contents of configs.

use crate::{
    call::request_id,
    error::{Error, Result},
    pages::{self, PAGE},
    proto::{
        ConfigSchema, ConfigSchemaSelector, DeleteConfigSchemaRequest, DeleteConfigSchemaResponse,
        GetConfigSchemaRequest, ListConfigSchemasRequest, PutConfigSchemaRequest,
        PutConfigSchemaResponse, config_schema_selector::Selector,
        config_service_client::ConfigServiceClient,
    },
};

use super::Configs;

// === impl Configs ===

impl Configs {
    /// Puts the schema, JSON, for a key or a prefix. It holds for what is written from then on.
    pub async fn put_schema(
        &self,
        selector: Selector,
        schema: &str,
        description: &str,
        expected_revision: Option<i64>,
    ) -> Result<PutConfigSchemaResponse> {
        let request = PutConfigSchemaRequest {
            namespace: self.client.namespace().into(),
            selector: some(selector),
            schema: schema.into(),
            description: description.into(),
            expected_revision,
            request_id: request_id(),
            actor: self.client.actor().into(),
            ..Default::default()
        };
        self.client
            .caller()
            .call(request, ConfigServiceClient::put_config_schema)
            .await
    }

    /// Reads the schema that was put for exactly this key or prefix.
    pub async fn schema(&self, selector: Selector) -> Result<ConfigSchema> {
        let request = GetConfigSchemaRequest {
            namespace: self.client.namespace().into(),
            selector: some(selector),
            ..Default::default()
        };
        let answer = self
            .client
            .caller()
            .call(request, ConfigServiceClient::get_config_schema)
            .await?;
        answer.schema.ok_or_else(|| Error::contract("schema"))
    }

    /// Lists the schemas, all pages; with a key only those that cover it.
    pub async fn schemas(&self, key: Option<&str>) -> Result<Vec<ConfigSchema>> {
        pages::all(move |page_token| async move {
            let request = ListConfigSchemasRequest {
                namespace: self.client.namespace().into(),
                key: key.unwrap_or_default().into(),
                page_size: PAGE,
                page_token,
                ..Default::default()
            };
            let page = self
                .client
                .caller()
                .call(request, ConfigServiceClient::list_config_schemas)
                .await?;
            Ok((page.schemas, page.next_page_token))
        })
        .await
    }

    /// Deletes a schema. Succeeds if it is gone.
    pub async fn delete_schema(
        &self,
        selector: Selector,
        expected_revision: Option<i64>,
    ) -> Result<DeleteConfigSchemaResponse> {
        let request = DeleteConfigSchemaRequest {
            namespace: self.client.namespace().into(),
            selector: some(selector),
            expected_revision,
            actor: self.client.actor().into(),
            ..Default::default()
        };
        self.client
            .caller()
            .call(request, ConfigServiceClient::delete_config_schema)
            .await
    }
}

fn some(selector: Selector) -> Option<ConfigSchemaSelector> {
    Some(ConfigSchemaSelector {
        selector: Some(selector),
    })
}
