//! Checks as arguments: `--check-tcp`, `--check-http`, `--check-grpc`.

use std::time::Duration;

use clap::Args;
use stanchion_client::proto::{
    CheckTls, GrpcCheck, HealthCheck, HttpCheck, TcpCheck, health_check::Kind,
};

use super::parse;

/// How the health of an instance is checked.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Health checks, made by the servers")]
pub(crate) struct Checks {
    /// Checks that a port accepts connections: its name or number, or nothing for the first
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = "")]
    check_tcp: Option<String>,

    /// Checks that a GET is answered 2xx: [http:// or https://][PORT][/PATH]
    #[arg(long, value_name = "[PORT]/PATH", value_parser = http)]
    check_http: Option<HttpCheck>,

    /// Checks the gRPC health protocol: [PORT][/SERVICE], or nothing for the first port
    #[arg(long, value_name = "[PORT][/SERVICE]", num_args = 0..=1, default_missing_value = "",
          value_parser = grpc)]
    check_grpc: Option<GrpcCheck>,

    /// Time between two checks, 1s to 1h [default: 10s]
    #[arg(long, value_parser = parse::duration, value_name = "DURATION")]
    check_interval: Option<Duration>,

    /// How long one may take [default: 3s]
    #[arg(long, value_parser = parse::duration, value_name = "DURATION")]
    check_timeout: Option<Duration>,

    /// Failures in a row that make it unhealthy [default: 3]
    #[arg(long, value_name = "NUMBER")]
    check_failures: Option<i32>,

    /// Successes in a row that make it healthy again [default: 2]
    #[arg(long, value_name = "NUMBER")]
    check_successes: Option<i32>,
}

// === impl Checks ===

impl Checks {
    /// All that were asked for.
    pub(super) fn all(&self) -> Vec<HealthCheck> {
        let tcp = self
            .check_tcp
            .clone()
            .map(|port| Kind::Tcp(TcpCheck { port }));
        let http = self.check_http.clone().map(Kind::Http);
        let grpc = self.check_grpc.clone().map(Kind::Grpc);
        let check = |kind| HealthCheck {
            kind: Some(kind),
            interval: self.check_interval.and_then(|d| d.try_into().ok()),
            timeout: self.check_timeout.and_then(|d| d.try_into().ok()),
            failure_threshold: self.check_failures,
            success_threshold: self.check_successes,
            ..HealthCheck::default()
        };
        [tcp, http, grpc].into_iter().flatten().map(check).collect()
    }
}

/// `[http:// or https://][port][/path]`.
fn http(text: &str) -> Result<HttpCheck, String> {
    let (tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (Some(CheckTls::default()), rest),
        (_, Some(rest)) => (None, rest),
        _ => (None, text),
    };
    let (port, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    Ok(HttpCheck {
        port: port.into(),
        path: path.into(),
        tls,
        ..HttpCheck::default()
    })
}

/// `[port][/service]`.
fn grpc(text: &str) -> Result<GrpcCheck, String> {
    let (port, service) = text.split_once('/').unwrap_or((text, ""));
    Ok(GrpcCheck {
        port: port.into(),
        service: service.into(),
        ..GrpcCheck::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_http_check_is_written_like_the_end_of_an_address() {
        let of = |text| http(text).map(|http| (http.port, http.path, http.tls.is_some()));
        let said = |port: &str, path: &str, tls| Ok((port.into(), path.into(), tls));
        assert_eq!(of("/healthz?a=/"), said("", "/healthz?a=/", false));
        assert_eq!(of("8080/healthz"), said("8080", "/healthz", false));
        assert_eq!(of("https://admin/"), said("admin", "/", true));
        assert_eq!(of("http://8080"), said("8080", "", false));
    }

    #[test]
    fn a_grpc_check_may_name_a_port_and_a_service() {
        let of = |text| grpc(text).map(|grpc| (grpc.port, grpc.service));
        assert_eq!(of(""), Ok((String::new(), String::new())));
        assert_eq!(of("grpc/orders"), Ok(("grpc".into(), "orders".into())));
        assert_eq!(of("/orders"), Ok((String::new(), "orders".into())));
    }
}
