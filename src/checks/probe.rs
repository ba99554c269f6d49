//! One check of one instance, once.

use std::{io, sync::Arc};

use http::Uri;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    clock::Clock,
    domain::registry::{CheckKind, CheckTls, HealthCheck},
};

use super::{
    Settings,
    failure::Failure,
    grpc,
    http::Get,
    target::Dialer,
    tls::{Protocol, Tls},
};

/// Makes checks.
pub struct Prober {
    dialer: Dialer,
    tls: Tls,
    clock: Arc<dyn Clock>,
}

/// Where a check goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Host name or address.
    pub host: String,
    /// The port, if the instance has the one that is to be checked.
    pub port: Option<u16>,
}

/// A connection, in the open or not.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

// === impl Prober ===

impl Prober {
    /// One that keeps to `settings`.
    ///
    /// Errors: the file of trusted certificates cannot be read.
    pub fn new(settings: &Settings, clock: Arc<dyn Clock>) -> io::Result<Self> {
        Ok(Self {
            dialer: Dialer::new(settings.allow_link_local),
            tls: Tls::new(&settings.ca_file)?,
            clock,
        })
    }

    /// Checks once. Ends with the check's timeout; what is known by then counts.
    pub async fn probe(&self, target: &Target, check: &HealthCheck) -> Result<(), Failure> {
        let mut found = Err(Failure::Silent(check.timeout));
        tokio::select! {
            () = self.ask(target, &check.kind, &mut found) => {}
            () = self.clock.sleep(check.timeout) => {}
        }
        found
    }

    async fn ask(&self, target: &Target, kind: &CheckKind, found: &mut Result<(), Failure>) {
        if let Err(failure) = self.try_ask(target, kind, found).await {
            *found = Err(failure);
        }
    }

    async fn try_ask(
        &self,
        target: &Target,
        kind: &CheckKind,
        found: &mut Result<(), Failure>,
    ) -> Result<(), Failure> {
        match kind {
            CheckKind::Tcp { .. } => {
                self.dialer
                    .connect(&target.host, target.port(kind)?)
                    .await?;
                *found = Ok(());
            }
            CheckKind::Http {
                path,
                min_status,
                max_status,
                headers,
                tls,
                ..
            } => {
                let stream = self
                    .open(target, kind, tls.as_ref(), Protocol::Http1)
                    .await?;
                let get = Get {
                    authority: &target.authority(kind)?,
                    path,
                    headers,
                    good: *min_status..=*max_status,
                };
                get.ask(stream, found).await;
            }
            CheckKind::Grpc { service, tls, .. } => {
                let stream = self
                    .open(target, kind, tls.as_ref(), Protocol::Http2)
                    .await?;
                let scheme = if tls.is_some() { "https" } else { "http" };
                let origin = Uri::builder()
                    .scheme(scheme)
                    .authority(target.authority(kind)?)
                    .path_and_query("/")
                    .build();
                let origin = origin.map_err(|error| Failure::Request(error.to_string()))?;
                *found = grpc::ask(stream, origin, service).await;
            }
        }
        Ok(())
    }

    async fn open(
        &self,
        target: &Target,
        kind: &CheckKind,
        tls: Option<&CheckTls>,
        protocol: Protocol,
    ) -> Result<Box<dyn Stream>, Failure> {
        let stream = self
            .dialer
            .connect(&target.host, target.port(kind)?)
            .await?;
        // What is sent is sent at once, and ends there.
        stream
            .set_nodelay(true)
            .map_err(|error| Failure::of_connect(&error))?;
        Ok(match tls {
            None => Box::new(stream),
            Some(terms) => Box::new(self.tls.over(stream, &target.host, terms, protocol).await?),
        })
    }
}

// === impl Target ===

impl Target {
    fn port(&self, kind: &CheckKind) -> Result<u16, Failure> {
        let missing = || Failure::NoPort(kind.port().0.clone());
        self.port.ok_or_else(missing)
    }

    fn authority(&self, kind: &CheckKind) -> Result<String, Failure> {
        let (host, port) = (&self.host, self.port(kind)?);
        Ok(match host.contains(':') && !host.starts_with('[') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        })
    }
}
