//! What operators decide: about services, instances and namespaces.

use crate::{
    Client,
    call::request_id,
    error::{Error, Result},
    pages::{self, PAGE},
    proto::{
        DeleteNamespaceRequest, DeleteServiceRequest, GetNamespaceRequest, GetServiceRequest,
        GetServiceResponse, InstanceDecision, InstanceOverlay, ListNamespacesRequest, Namespace,
        NamespaceSettings, OperatorState, PutNamespaceRequest, PutNamespaceResponse,
        PutServiceRequest, PutServiceResponse, ServiceSettings, SetInstanceOverlayRequest,
        SetInstanceStateRequest, operator_service_client::OperatorServiceClient,
    },
};

/// The decisions of operators in a namespace. See [`Client::operator`].
#[derive(Debug, Clone)]
pub struct Operator {
    client: Client,
}

// === impl Operator ===

impl Operator {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Sets all that can be set for a service, if its settings have `expected_revision` (`0`: if
    /// there are none; `None`: whatever they are). What is left out has its default again.
    pub async fn put_service(
        &self,
        service: &str,
        settings: ServiceSettings,
        expected_revision: Option<i64>,
    ) -> Result<PutServiceResponse> {
        let request = PutServiceRequest {
            namespace: self.client.namespace().into(),
            service: service.into(),
            settings: Some(settings),
            expected_revision,
            request_id: request_id(),
            actor: self.client.actor().into(),
            ..Default::default()
        };
        self.client
            .caller()
            .call(request, OperatorServiceClient::put_service)
            .await
    }

    /// Reads what was set for a service, and what its instances come to.
    pub async fn get_service(&self, service: &str) -> Result<GetServiceResponse> {
        let request = GetServiceRequest {
            namespace: self.client.namespace().into(),
            service: service.into(),
            ..Default::default()
        };
        self.client
            .caller()
            .call(request, OperatorServiceClient::get_service)
            .await
    }

    /// Takes back what was set for a service. Answers whether something was.
    pub async fn delete_service(&self, service: &str) -> Result<bool> {
        let request = DeleteServiceRequest {
            namespace: self.client.namespace().into(),
            service: service.into(),
            actor: self.client.actor().into(),
            ..Default::default()
        };
        let answer = self
            .client
            .caller()
            .call(request, OperatorServiceClient::delete_service)
            .await?;
        Ok(answer.deleted)
    }

    /// Keeps an instance out of the serving view until it is restored, registered or not.
    pub async fn isolate(
        &self,
        service: &str,
        instance_id: &str,
        comment: &str,
    ) -> Result<InstanceDecision> {
        let isolated = OperatorState::Isolated;
        let decision = self.set_state(service, instance_id, isolated, comment);
        decision.await?.ok_or_else(|| Error::contract("decision"))
    }

    /// Ends the isolation of an instance, and breaks off its drain. Answers what is left that was
    /// decided about it.
    pub async fn restore(
        &self,
        service: &str,
        instance_id: &str,
    ) -> Result<Option<InstanceDecision>> {
        self.set_state(service, instance_id, OperatorState::Active, "")
            .await
    }

    async fn set_state(
        &self,
        service: &str,
        instance_id: &str,
        state: OperatorState,
        comment: &str,
    ) -> Result<Option<InstanceDecision>> {
        let request = SetInstanceStateRequest {
            namespace: self.client.namespace().into(),
            service: service.into(),
            instance_id: instance_id.into(),
            state: state.into(),
            comment: comment.into(),
            request_id: request_id(),
            actor: self.client.actor().into(),
            ..Default::default()
        };
        let answer = self
            .client
            .caller()
            .call(request, OperatorServiceClient::set_instance_state)
            .await?;
        Ok(answer.decision)
    }

    /// Has an instance shown otherwise than it registered; an empty overlay ends that. Answers what
    /// is decided about it now.
    pub async fn overlay(
        &self,
        service: &str,
        instance_id: &str,
        overlay: InstanceOverlay,
        comment: &str,
    ) -> Result<Option<InstanceDecision>> {
        let request = SetInstanceOverlayRequest {
            namespace: self.client.namespace().into(),
            service: service.into(),
            instance_id: instance_id.into(),
            overlay: Some(overlay),
            comment: comment.into(),
            request_id: request_id(),
            actor: self.client.actor().into(),
            ..Default::default()
        };
        let answer = self
            .client
            .caller()
            .call(request, OperatorServiceClient::set_instance_overlay)
            .await?;
        Ok(answer.decision)
    }

    /// Sets all that can be set for the client's namespace, like
    /// [`put_service`](Self::put_service).
    pub async fn put_namespace(
        &self,
        settings: NamespaceSettings,
        expected_revision: Option<i64>,
    ) -> Result<PutNamespaceResponse> {
        let request = PutNamespaceRequest {
            namespace: self.client.namespace().into(),
            settings: Some(settings),
            expected_revision,
            request_id: request_id(),
            actor: self.client.actor().into(),
            ..Default::default()
        };
        self.client
            .caller()
            .call(request, OperatorServiceClient::put_namespace)
            .await
    }

    /// Reads what was set for the client's namespace, and how much is in it.
    pub async fn namespace(&self) -> Result<Namespace> {
        let request = GetNamespaceRequest {
            namespace: self.client.namespace().into(),
            ..Default::default()
        };
        let answer = self
            .client
            .caller()
            .call(request, OperatorServiceClient::get_namespace)
            .await?;
        answer.namespace.ok_or_else(|| Error::contract("namespace"))
    }

    /// Reads the namespaces for which something was set or that have something in them, all pages.
    pub async fn namespaces(&self) -> Result<Vec<Namespace>> {
        pages::all(move |page_token| async move {
            let request = ListNamespacesRequest {
                page_size: PAGE,
                page_token,
                ..Default::default()
            };
            let page = self
                .client
                .caller()
                .call(request, OperatorServiceClient::list_namespaces)
                .await?;
            Ok((page.namespaces, page.next_page_token))
        })
        .await
    }

    /// Takes back what was set for the client's namespace, which must have nothing in it. Answers
    /// whether something was.
    pub async fn delete_namespace(&self) -> Result<bool> {
        let request = DeleteNamespaceRequest {
            namespace: self.client.namespace().into(),
            actor: self.client.actor().into(),
            ..Default::default()
        };
        let answer = self
            .client
            .caller()
            .call(request, OperatorServiceClient::delete_namespace)
            .await?;
        Ok(answer.deleted)
    }
}
