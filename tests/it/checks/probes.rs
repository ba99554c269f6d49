//! One check of targets that behave badly, each in its way.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use stanchion::{
    checks::{Failure, Prober, Settings, Target},
    clock::SystemClock,
    domain::registry::{CheckKind, CheckPort, CheckTls, HealthCheck},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};
use tonic_health::{
    ServingStatus,
    server::{HealthReporter, health_reporter},
};

use super::targets::{Listening, ok, respond};
use crate::support::{
    pki::{Authority, Files, Pair},
    server::eventually,
};

/// Short, as some targets never answer.
const TIMEOUT: Duration = Duration::from_millis(500);

#[tokio::test]
async fn a_tcp_check_asks_whether_a_connection_is_accepted() {
    let target = Listening::hanging().await;
    assert_eq!(probe(&target.target(), tcp()).await, Ok(()));
    let gone = target.target();
    drop(target);
    let refused = || async {
        let found = probe(&gone, tcp()).await;
        (found == Err(Failure::Unreachable("refused"))).then_some(())
    };
    eventually("the refusal", refused).await;
}

#[tokio::test]
async fn an_http_check_asks_for_a_status() {
    let target = Listening::answering(&ok()).await;
    assert_eq!(probe(&target.target(), http(200, 299)).await, Ok(()));
    let found = probe(&target.target(), http(201, 299)).await;
    assert_eq!(found, Err(Failure::Status(200)));
    let unready = "HTTP/1.1 503 Not ready, tried at 12:00:01\r\ncontent-length: 0\r\n\r\n";
    let target = Listening::answering(unready).await;
    let found = probe(&target.target(), http(200, 299)).await.unwrap_err();
    // Nothing of what a target says that may be another thing the next time.
    assert_eq!(found.to_string(), "answered with status 503");
}

#[tokio::test]
async fn headers_that_were_asked_for_are_sent() {
    let target = Listening::answering("HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n").await;
    let found = probe(&target.target(), http(200, 299)).await;
    assert_eq!(found, Err(Failure::Status(403)));
    let CheckKind::Http {
        port,
        path,
        min_status,
        max_status,
        tls,
        ..
    } = http(200, 299)
    else {
        unreachable!()
    };
    let headers = BTreeMap::from([("x-expected".into(), "yes".into())]);
    let with = CheckKind::Http {
        port,
        path,
        min_status,
        max_status,
        headers,
        tls,
    };
    assert_eq!(probe(&target.target(), with).await, Ok(()));
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = Listening::answering(&ok()).await;
    let address = elsewhere.address;
    let redirect =
        format!("HTTP/1.1 302 Found\r\nlocation: http://{address}/\r\ncontent-length: 0\r\n\r\n");
    let target = Listening::answering(&redirect).await;
    let found = probe(&target.target(), http(200, 299)).await;
    assert_eq!(found, Err(Failure::Status(302)));
    assert_eq!(probe(&target.target(), http(200, 399)).await, Ok(()));
    assert_eq!(elsewhere.count(), 0);
}

#[tokio::test]
async fn targets_that_hang_end_with_the_timeout() {
    let target = Listening::hanging().await;
    for kind in [http(200, 299), https(CheckTls::default()), grpc("")] {
        let begun = Instant::now();
        let found = probe(&target.target(), kind).await;
        assert_eq!(found, Err(Failure::Silent(TIMEOUT)));
        assert!(begun.elapsed() >= TIMEOUT);
    }
    let slow = Listening::slow(TIMEOUT * 4).await;
    let found = probe(&slow.target(), http(200, 299)).await;
    assert_eq!(found.unwrap_err().to_string(), "no answer within 500ms");
}

#[tokio::test]
async fn targets_that_break_the_connection_fail() {
    let target = Listening::resetting().await;
    for kind in [http(200, 299), https(CheckTls::default()), grpc("")] {
        let found = probe(&target.target(), kind).await;
        assert_eq!(found, Err(Failure::Broken));
    }
    let silent = Listening::with(|stream| async move { drop(stream) }).await;
    let found = probe(&silent.target(), http(200, 299)).await;
    assert_eq!(found, Err(Failure::Broken));
}

#[tokio::test]
async fn a_body_without_end_neither_fails_nor_holds_up_a_check() {
    let target = Listening::endless().await;
    assert_eq!(probe(&target.target(), http(200, 299)).await, Ok(()));
    // The status is known, and the rest does not come.
    let stuck = Listening::with(|mut stream| async move {
        let _ = stream.read(&mut [0; 1024]).await;
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
        stream.write_all(head).await.unwrap();
        std::future::pending().await
    })
    .await;
    assert_eq!(probe(&stuck.target(), http(200, 299)).await, Ok(()));
}

#[tokio::test]
async fn what_is_not_http_is_told_as_such() {
    let target = Listening::answering("SSH-2.0-OpenSSH_9.9\r\n").await;
    let found = probe(&target.target(), http(200, 299)).await;
    assert_eq!(found, Err(Failure::NotHttp));
    let target = Listening::endless_head().await;
    let found = probe(&target.target(), http(200, 299)).await;
    assert!(found.is_err(), "{found:?}");
}

#[tokio::test]
async fn certificates_are_verified_unless_they_need_not_be() {
    let (trusted, stranger) = (Authority::new(), Authority::new());
    let verify = CheckTls::default();
    let cases = [
        (trusted.issue(), verify.clone(), ""),
        (
            stranger.issue(),
            verify.clone(),
            "TLS: the certificate's issuer is not trusted",
        ),
        (
            trusted.issue_expired(),
            verify.clone(),
            "TLS: the certificate has expired",
        ),
        (
            trusted.issue_for("elsewhere.test"),
            verify,
            "TLS: the certificate is for another name",
        ),
        (trusted.issue_for("elsewhere.test"), for_elsewhere(), ""),
        (stranger.issue_expired(), any(), ""),
    ];
    for (pair, terms, expected) in cases {
        let target = tls_target(&pair).await;
        let found = probe_trusting(&trusted, &target.target(), https(terms)).await;
        let found = found.err().map_or_else(String::new, |f| f.to_string());
        assert_eq!(found, expected);
    }
    let plain = Listening::with(|mut stream| async move {
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").await;
        std::future::pending().await
    })
    .await;
    let found = probe(&plain.target(), https(any())).await.unwrap_err();
    assert!(matches!(found, Failure::Tls(_)), "{found:?}");
}

#[tokio::test]
async fn a_grpc_check_asks_the_health_protocol() {
    let (reporter, target) = health_server().await;
    assert_eq!(probe(&target, grpc("")).await, Ok(()));
    let found = probe(&target, grpc("orders")).await.unwrap_err();
    assert_eq!(found.to_string(), "answered that it knows no such service");
    let set = |status| reporter.set_service_status("orders", status);
    set(ServingStatus::Serving).await;
    assert_eq!(probe(&target, grpc("orders")).await, Ok(()));
    set(ServingStatus::NotServing).await;
    let found = probe(&target, grpc("orders")).await.unwrap_err();
    assert_eq!(found.to_string(), "answered NOT_SERVING");
    let http1 = Listening::answering(&ok()).await;
    let found = probe(&http1.target(), grpc("")).await;
    assert_eq!(found, Err(Failure::Broken));
}

#[tokio::test]
async fn addresses_that_must_not_be_checked_are_not_connected_to() {
    for host in [
        "169.254.169.254",
        "fe80::1",
        "0.0.0.0",
        "::ffff:169.254.0.1",
    ] {
        let target = Target {
            host: host.into(),
            port: Some(80),
        };
        let found = probe(&target, http(100, 599)).await.unwrap_err();
        assert!(matches!(found, Failure::Forbidden(_)), "{host}: {found:?}");
    }
}

#[tokio::test]
async fn an_instance_without_the_port_fails() {
    let target = Target {
        host: "127.0.0.1".into(),
        port: None,
    };
    let found = probe(&target, tcp()).await.unwrap_err();
    assert_eq!(found.to_string(), "the instance has no port \"\"");
}

async fn probe(target: &Target, kind: CheckKind) -> Result<(), Failure> {
    probe_with(&Settings::default(), target, kind).await
}

async fn probe_trusting(
    trusted: &Authority,
    target: &Target,
    kind: CheckKind,
) -> Result<(), Failure> {
    let files = Files::new(trusted, &trusted.issue());
    let settings = Settings {
        ca_file: files.ca().to_str().unwrap().into(),
        ..Settings::default()
    };
    probe_with(&settings, target, kind).await
}

async fn probe_with(settings: &Settings, target: &Target, kind: CheckKind) -> Result<(), Failure> {
    let prober = Prober::new(settings, Arc::new(SystemClock)).unwrap();
    let check = HealthCheck {
        name: "it".into(),
        kind,
        interval: Duration::from_secs(1),
        timeout: TIMEOUT,
        failure_threshold: 1,
        success_threshold: 1,
        initial_delay: Duration::ZERO,
        starts_unhealthy: false,
    };
    prober.probe(target, &check).await
}

fn tcp() -> CheckKind {
    CheckKind::Tcp {
        port: CheckPort::default(),
    }
}

fn http(min_status: u16, max_status: u16) -> CheckKind {
    CheckKind::Http {
        port: CheckPort::default(),
        path: "/healthz?deep=1".into(),
        min_status,
        max_status,
        headers: BTreeMap::new(),
        tls: None,
    }
}

fn https(terms: CheckTls) -> CheckKind {
    let CheckKind::Http {
        port,
        path,
        min_status,
        max_status,
        headers,
        ..
    } = http(200, 299)
    else {
        unreachable!()
    };
    CheckKind::Http {
        port,
        path,
        min_status,
        max_status,
        headers,
        tls: Some(terms),
    }
}

fn grpc(service: &str) -> CheckKind {
    CheckKind::Grpc {
        port: CheckPort::default(),
        service: service.into(),
        tls: None,
    }
}

fn any() -> CheckTls {
    CheckTls {
        skip_verify: true,
        ..CheckTls::default()
    }
}

fn for_elsewhere() -> CheckTls {
    CheckTls {
        server_name: "elsewhere.test".into(),
        ..CheckTls::default()
    }
}

async fn tls_target(pair: &Pair) -> Listening {
    let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Listening::with(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                respond(stream, ok()).await;
            }
        }
    })
    .await
}

async fn health_server() -> (HealthReporter, Target) {
    let (reporter, service) = health_reporter();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(incoming));
    let target = Target {
        host: "127.0.0.1".into(),
        port: Some(port),
    };
    (reporter, target)
}
