//! Health: reports of it, and what was found.

use std::time::Duration;

use crate::{
    Client,
    error::{Error, Result},
    proto::{
        GetInstanceRequest, GetInstanceResponse, Health, Instance, ReportHealthRequest,
        registry_service_client::RegistryServiceClient,
    },
    session::Session,
};

/// A report about to be sent. See [`Client::report_health`].
#[derive(Debug, Clone)]
#[must_use = "nothing is reported before `send`"]
pub struct HealthReport {
    client: Client,
    request: ReportHealthRequest,
}

// === impl Client ===

impl Client {
    /// Reads one instance, and what checks and reports found about it.
    pub async fn instance(&self, service: &str, instance_id: &str) -> Result<GetInstanceResponse> {
        let request = GetInstanceRequest {
            namespace: self.namespace().into(),
            service: service.into(),
            instance_id: instance_id.into(),
            ..Default::default()
        };
        self.caller()
            .call(request, RegistryServiceClient::get_instance)
            .await
    }

    /// Begins to say how an instance is: `report_health("shop", "1").unhealthy("lost its disk")
    /// .by("monitor", ttl).send()`. A report says that the instance is healthy unless it says
    /// otherwise.
    pub fn report_health(&self, service: &str, instance_id: &str) -> HealthReport {
        HealthReport {
            client: self.clone(),
            request: ReportHealthRequest {
                namespace: self.namespace().into(),
                service: service.into(),
                instance_id: instance_id.into(),
                health: Health::Healthy.into(),
                ..Default::default()
            },
        }
    }
}

// === impl HealthReport ===

impl HealthReport {
    /// It does not work, and why; at most 256 bytes.
    pub fn unhealthy(mut self, reason: impl Into<String>) -> Self {
        self.request.health = Health::Unhealthy.into();
        self.request.reason = reason.into();
        self
    }

    /// Somebody who is not the instance says so, for a time: 1 s to 1 h, unless it is said again.
    pub fn by(mut self, reporter: impl Into<String>, ttl: Duration) -> Self {
        self.request.reporter = reporter.into();
        self.request.ttl = ttl.try_into().ok();
        self
    }

    /// The instance itself says so, which lives by this session; until it says something else.
    pub fn by_itself(mut self, session: &Session) -> Self {
        self.request.session_id = session.id().into();
        self
    }

    /// Sends the report. Answers the instance as it is with it.
    pub async fn send(self) -> Result<Instance> {
        let answer = self
            .client
            .caller()
            .call(self.request, RegistryServiceClient::report_health)
            .await?;
        answer.instance.ok_or_else(|| Error::contract("instance"))
    }
}
