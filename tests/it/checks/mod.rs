//! Active health checks and reports.

mod bad_input;
mod policies;
mod probes;
mod replicas;
mod reports;
mod targets;
mod verdicts;

use std::{net::SocketAddr, time::Duration};

use stanchion_client::proto::{
    Consistency, GetInstanceRequest, GetInstanceResponse, Health, HealthCheck, HealthFinding,
    HttpCheck, Instance, Port, RegisterInstanceRequest, ReportHealthRequest, TcpCheck,
    health_check::Kind, health_finding::Source, register_instance_request::Liveness,
};
use tonic::Status;

use crate::support::server::{Server, eventually};

/// A check that decides at once, as often as there may be one.
fn check(kind: Kind) -> HealthCheck {
    HealthCheck {
        kind: Some(kind),
        interval: Some(millis(1000)),
        failure_threshold: Some(1),
        success_threshold: Some(1),
        ..HealthCheck::default()
    }
}

fn tcp() -> HealthCheck {
    check(Kind::Tcp(TcpCheck::default()))
}

fn http() -> HealthCheck {
    check(Kind::Http(HttpCheck::default()))
}

/// An instance of the service `web` at an address.
fn at(address: SocketAddr, id: &str, checks: Vec<HealthCheck>) -> Instance {
    Instance {
        service: "web".into(),
        instance_id: id.into(),
        address: address.ip().to_string(),
        ports: vec![Port {
            port: address.port().into(),
            ..Port::default()
        }],
        checks,
        ..Instance::default()
    }
}

fn persistent(instance: Instance) -> RegisterInstanceRequest {
    RegisterInstanceRequest {
        instance: Some(instance),
        liveness: Some(Liveness::Persistent(true)),
        ..RegisterInstanceRequest::default()
    }
}

/// A registration that opens its session, which lives long enough.
fn ephemeral(instance: Instance) -> RegisterInstanceRequest {
    RegisterInstanceRequest {
        instance: Some(instance),
        liveness: Some(Liveness::Ttl(millis(120_000))),
        ..RegisterInstanceRequest::default()
    }
}

/// Registers an instance and gives its session.
async fn register(server: &Server, request: RegisterInstanceRequest) -> Result<String, Status> {
    let response = server.registry().register_instance(request).await?;
    Ok(response.into_inner().session_id)
}

async fn get(server: &Server, id: &str) -> GetInstanceResponse {
    let request = GetInstanceRequest {
        service: "web".into(),
        instance_id: id.into(),
        consistency: Consistency::Linearizable.into(),
        ..GetInstanceRequest::default()
    };
    let response = server.registry().get_instance(request).await;
    response.unwrap().into_inner()
}

/// Waits until an instance has a health.
async fn becomes(server: &Server, id: &str, health: Health) -> GetInstanceResponse {
    let check = || async {
        let got = get(server, id).await;
        (got.instance.as_ref().unwrap().health() == health).then_some(got)
    };
    eventually(&format!("{id} to be {health:?}"), check).await
}

/// What one source says, in few words.
fn says(got: &GetInstanceResponse, source: &Source) -> Option<(Health, String)> {
    let found = got.findings.iter();
    let mut found = found.filter(|finding| finding.source.as_ref() == Some(source));
    found
        .next()
        .map(|f: &HealthFinding| (f.health(), f.detail.clone()))
}

fn by_check(name: &str) -> Source {
    Source::Check(name.into())
}

fn by(reporter: &str) -> Source {
    Source::Reporter(reporter.into())
}

/// A report by somebody else.
fn report(id: &str, reporter: &str, health: Health, ttl: Duration) -> ReportHealthRequest {
    ReportHealthRequest {
        service: "web".into(),
        instance_id: id.into(),
        reporter: reporter.into(),
        health: health.into(),
        reason: format!("{reporter} says so"),
        ttl: Some(ttl.try_into().unwrap()),
        ..ReportHealthRequest::default()
    }
}

async fn send(server: &Server, request: ReportHealthRequest) -> Result<Instance, Status> {
    let response = server.registry().report_health(request).await?;
    Ok(response.into_inner().instance.unwrap())
}

fn millis(millis: u64) -> prost_types::Duration {
    Duration::from_millis(millis).try_into().unwrap()
}
