//! Checks and reports that break a rule, and how that is told.

use std::{collections::BTreeMap, time::Duration};

use stanchion_client::proto::{
    GrpcCheck, Health, HealthCheck, HttpCheck, ReportHealthRequest, TcpCheck, health_check::Kind,
};
use tonic::Code;

use super::{at, check, ephemeral, millis, persistent, register, report, send, tcp};
use crate::support::server::{Backend, Server, assert_invalid, assert_status, on_both_stores};

on_both_stores! {
    a_report_of_what_is_not_there_or_not_the_callers_is_refused,
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn checks_that_break_a_rule_are_named() {
    let server = Backend::embedded().await.server().await;
    let of = |kind| check(kind);
    let http_with = |edit: fn(&mut HttpCheck)| {
        let mut asked = HttpCheck::default();
        edit(&mut asked);
        of(Kind::Http(asked))
    };
    let port = |port: &str| of(Kind::Tcp(TcpCheck { port: port.into() }));
    let cases = [
        (
            HealthCheck {
                failure_threshold: Some(0),
                ..tcp()
            },
            "failure_threshold",
        ),
        (
            HealthCheck {
                failure_threshold: Some(101),
                ..tcp()
            },
            "failure_threshold",
        ),
        (
            HealthCheck {
                success_threshold: Some(0),
                ..tcp()
            },
            "success_threshold",
        ),
        (
            HealthCheck {
                success_threshold: Some(-1),
                ..tcp()
            },
            "success_threshold",
        ),
        (
            HealthCheck {
                timeout: Some(millis(1001)),
                ..tcp()
            },
            "timeout",
        ),
        (
            HealthCheck {
                timeout: Some(millis(0)),
                ..tcp()
            },
            "timeout",
        ),
        (
            HealthCheck {
                interval: Some(millis(999)),
                ..tcp()
            },
            "interval",
        ),
        (
            HealthCheck {
                interval: Some(millis(3_600_001)),
                ..tcp()
            },
            "interval",
        ),
        (
            HealthCheck {
                initial_delay: Some(millis(3_600_001)),
                ..tcp()
            },
            "initial_delay",
        ),
        (
            HealthCheck {
                name: "a b".into(),
                ..tcp()
            },
            "name",
        ),
        (
            HealthCheck {
                kind: None,
                ..tcp()
            },
            "kind",
        ),
        (port("admin"), "tcp.port"),
        (port("0"), "tcp.port"),
        (http_with(|http| http.path = "healthz".into()), "http.path"),
        (http_with(|http| http.path = "/a b".into()), "http.path"),
        (
            http_with(|http| http.path = format!("/{}", "a".repeat(1024))),
            "http.path",
        ),
        (http_with(|http| http.min_status = 99), "http.min_status"),
        (http_with(|http| http.max_status = 600), "http.max_status"),
        (
            http_with(|http| (http.min_status, http.max_status) = (300, 200)),
            "http.max_status",
        ),
        (
            http_with(|http| http.headers = header("a b", "c")),
            "http.headers",
        ),
        (
            http_with(|http| http.headers = header("a", "b\r\nc: d")),
            "http.headers",
        ),
        (
            http_with(|http| http.headers = header("Content-Length", "5")),
            "http.headers",
        ),
        (
            of(Kind::Grpc(GrpcCheck {
                service: "s".repeat(254),
                ..GrpcCheck::default()
            })),
            "grpc.service",
        ),
    ];
    for (check, field) in cases {
        refused(&server, vec![check], &format!("instance.checks[0].{field}")).await;
    }
    refused(&server, vec![tcp(), tcp()], "instance.checks[1].name").await;
    let many = (0..9).map(|n| HealthCheck {
        name: format!("c{n}"),
        ..tcp()
    });
    refused(&server, many.collect(), "instance.checks").await;
    server.stop().await;
}

#[tokio::test]
async fn what_a_check_leaves_out_is_answered_as_it_will_be() {
    let server = Backend::embedded().await.server().await;
    let kind = Some(Kind::Http(HttpCheck::default()));
    let quick = HealthCheck {
        kind: kind.clone(),
        interval: Some(millis(2000)),
        ..HealthCheck::default()
    };
    let plain = HealthCheck {
        name: "plain".into(),
        kind,
        ..HealthCheck::default()
    };
    let instance = at("127.0.0.1:1".parse().unwrap(), "a", vec![quick, plain]);
    let response = server
        .registry()
        .register_instance(persistent(instance))
        .await;
    let checks = response.unwrap().into_inner().instance.unwrap().checks;
    let [quick, plain] = checks.as_slice() else {
        panic!("{checks:?}");
    };
    assert_eq!(quick.name, "http");
    // Never longer than the interval.
    assert_eq!(quick.timeout, Some(millis(2000)));
    assert_eq!(
        (plain.interval, plain.timeout),
        (Some(millis(10_000)), Some(millis(3000)))
    );
    assert_eq!(
        (plain.failure_threshold, plain.success_threshold),
        (Some(3), Some(2))
    );
    let Some(Kind::Http(http)) = &plain.kind else {
        panic!("{plain:?}");
    };
    assert_eq!(
        (http.path.as_str(), http.min_status, http.max_status),
        ("/", 200, 299)
    );
    server.stop().await;
}

#[tokio::test]
async fn reports_that_break_a_rule_are_named() {
    let server = Backend::embedded().await.server().await;
    let instance = at("127.0.0.1:1".parse().unwrap(), "a", Vec::new());
    let session = register(&server, ephemeral(instance)).await.unwrap();
    let good = report("a", "gateway", Health::Unhealthy, MINUTE);
    let cases = [
        (
            ReportHealthRequest {
                reporter: String::new(),
                ..good.clone()
            },
            "reporter",
        ),
        (
            ReportHealthRequest {
                session_id: session,
                ..good.clone()
            },
            "reporter",
        ),
        (
            ReportHealthRequest {
                ttl: None,
                ..good.clone()
            },
            "ttl",
        ),
        (
            ReportHealthRequest {
                ttl: Some(millis(999)),
                ..good.clone()
            },
            "ttl",
        ),
        (
            ReportHealthRequest {
                ttl: Some(millis(3_600_001)),
                ..good.clone()
            },
            "ttl",
        ),
        (
            ReportHealthRequest {
                health: Health::Suspect.into(),
                ..good.clone()
            },
            "health",
        ),
        (
            ReportHealthRequest {
                health: 0,
                ..good.clone()
            },
            "health",
        ),
        (
            ReportHealthRequest {
                reason: "r".repeat(257),
                ..good.clone()
            },
            "reason",
        ),
        (
            ReportHealthRequest {
                reason: "a\nb".into(),
                ..good.clone()
            },
            "reason",
        ),
        (
            ReportHealthRequest {
                service: String::new(),
                ..good.clone()
            },
            "service",
        ),
        (
            ReportHealthRequest {
                instance_id: "/".into(),
                ..good
            },
            "instance_id",
        ),
    ];
    for (request, field) in cases {
        assert_invalid(&send(&server, request).await.unwrap_err(), field);
    }
    server.stop().await;
}

async fn a_report_of_what_is_not_there_or_not_the_callers_is_refused(backend: Backend) {
    let server = backend.server().await;
    let nobody = report("a", "gateway", Health::Unhealthy, MINUTE);
    let status = send(&server, nobody).await.unwrap_err();
    assert_status(&status, Code::NotFound, "INSTANCE_NOT_FOUND");

    let address = "127.0.0.1:1".parse().unwrap();
    let own = register(&server, ephemeral(at(address, "a", Vec::new())))
        .await
        .unwrap();
    let other = register(&server, ephemeral(at(address, "b", Vec::new())))
        .await
        .unwrap();
    let by_session = |session_id: &str| ReportHealthRequest {
        session_id: session_id.into(),
        reporter: String::new(),
        ..report("a", "", Health::Unhealthy, MINUTE)
    };
    let status = send(&server, by_session(&other)).await.unwrap_err();
    assert_status(&status, Code::FailedPrecondition, "INSTANCE_NOT_OWNED");
    send(&server, by_session(&own)).await.unwrap();

    for reporter in 0..16 {
        let request = report("b", &format!("r{reporter}"), Health::Unhealthy, MINUTE);
        send(&server, request).await.unwrap();
    }
    let request = report("b", "one more", Health::Unhealthy, MINUTE);
    let status = send(&server, request).await.unwrap_err();
    assert_status(&status, Code::ResourceExhausted, "TOO_MANY_REPORTERS");
    // Those that are known may go on.
    let request = report("b", "r0", Health::Healthy, MINUTE);
    send(&server, request).await.unwrap();
    server.stop().await;
}

async fn refused(server: &Server, checks: Vec<HealthCheck>, field: &str) {
    let instance = at("127.0.0.1:1".parse().unwrap(), "a", checks);
    let status = register(server, persistent(instance)).await.unwrap_err();
    assert_invalid(&status, field);
}

fn header(name: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(name.into(), value.into())])
}
