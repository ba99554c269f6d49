//! Why a check did not succeed.

use std::{io, net::IpAddr, time::Duration};

use tokio_rustls::rustls::{self, CertificateError};

/// The longest text of somebody else's that becomes part of ours, in bytes.
const MAX_FOREIGN: usize = 120;

/// Why a check did not succeed: one short line for people, the same whenever the same is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The instance has no port of that name, or no port at all.
    #[error("the instance has no port {0:?}")]
    NoPort(String),
    /// Its name means no address.
    #[error("the address cannot be resolved")]
    Unresolved,
    /// Its address is one that is not checked.
    #[error("{0} is an address that is not checked")]
    Forbidden(IpAddr),
    /// There was no connection.
    #[error("no connection: {0}")]
    Unreachable(&'static str),
    /// It took too long.
    #[error("no answer within {}", humantime::format_duration(*.0))]
    Silent(Duration),
    /// The connection ended before the answer.
    #[error("the connection broke before the answer")]
    Broken,
    /// There was no TLS, or its certificate is not good.
    #[error("TLS: {0}")]
    Tls(String),
    /// The request cannot be made.
    #[error("the request cannot be made: {0}")]
    Request(String),
    /// It was not HTTP.
    #[error("the answer is not HTTP")]
    NotHttp,
    /// The status is not one that was asked for.
    #[error("answered with status {0}")]
    Status(u16),
    /// The gRPC health protocol said anything but SERVING.
    #[error("answered {0}")]
    NotServing(String),
}

// === impl Failure ===

impl Failure {
    /// Why there was no connection.
    pub(super) fn of_connect(error: &io::Error) -> Self {
        Self::Unreachable(match error.kind() {
            io::ErrorKind::ConnectionRefused => "refused",
            io::ErrorKind::ConnectionReset => "reset",
            io::ErrorKind::HostUnreachable => "the host cannot be reached",
            io::ErrorKind::NetworkUnreachable => "the network cannot be reached",
            io::ErrorKind::TimedOut => "timed out",
            io::ErrorKind::PermissionDenied => "not permitted",
            // Says more of this replica than of what it checks.
            io::ErrorKind::AddrNotAvailable => "no local port is left",
            _ => "the system refuses it",
        })
    }

    /// Why there was no TLS. The library's words for a certificate hold the time of day.
    pub(super) fn of_tls(error: &io::Error) -> Self {
        let inner = error.get_ref().and_then(|e| e.downcast_ref());
        Self::Tls(match inner {
            Some(rustls::Error::InvalidCertificate(flaw)) => match flaw {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    "the certificate has expired".into()
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    "the certificate is not valid yet".into()
                }
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => {
                    "the certificate is for another name".into()
                }
                CertificateError::UnknownIssuer => "the certificate's issuer is not trusted".into(),
                flaw => format!("the certificate is no good: {}", short(&flaw.to_string())),
            },
            Some(error) => short(&error.to_string()).into(),
            None => return Self::Broken,
        })
    }
}

/// As much of a text as fits.
pub(super) fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_FOREIGN)]
}
