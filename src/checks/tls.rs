//! TLS to what is checked.

use std::{io, sync::Arc};

use tokio::{net::TcpStream, sync::OnceCell, task::spawn_blocking};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
        client::{
            Resumption,
            danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        },
        crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
        pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    },
};

use crate::domain::registry::CheckTls;

use super::failure::Failure;

/// What is spoken inside.
#[derive(Debug, Clone, Copy)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// Speaks TLS with what is checked.
pub(super) struct Tls {
    provider: Arc<CryptoProvider>,
    /// Whom to trust: read when it is first needed, since most replicas never need it.
    roots: OnceCell<Arc<RootCertStore>>,
}

/// Takes any certificate. Whoever shows it must still have its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

// === impl Tls ===

impl Tls {
    /// Trusts who is named in the file `ca_file`, or whom the system trusts if it is empty.
    ///
    /// Errors: the file cannot be read, or has no certificate.
    pub(super) fn new(ca_file: &str) -> io::Result<Self> {
        let roots = match ca_file {
            "" => OnceCell::new(),
            file => OnceCell::new_with(Some(Arc::new(read(file)?))),
        };
        Ok(Self {
            provider: Arc::new(ring::default_provider()),
            roots,
        })
    }

    /// Shakes hands over a connection to `host`.
    pub(super) async fn over(
        &self,
        stream: TcpStream,
        host: &str,
        terms: &CheckTls,
        protocol: Protocol,
    ) -> Result<TlsStream<TcpStream>, Failure> {
        let name = match terms.server_name.as_str() {
            "" => host.trim_matches(['[', ']']),
            name => name,
        };
        let server_name = ServerName::try_from(name.to_owned())
            .map_err(|_| Failure::Tls("the address is no name a certificate can have".into()))?;
        let config = self.config(terms.skip_verify, protocol).await;
        let config = config.map_err(|error| Failure::Tls(error.to_string()))?;
        let connector = TlsConnector::from(Arc::new(config));
        let connected = connector.connect(server_name, stream).await;
        connected.map_err(|error| Failure::of_tls(&error))
    }

    async fn config(
        &self,
        skip_verify: bool,
        protocol: Protocol,
    ) -> Result<ClientConfig, rustls::Error> {
        let provider = self.provider.clone();
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?;
        let mut config = if skip_verify {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
                .with_no_client_auth()
        } else {
            builder
                .with_root_certificates(self.roots().await)
                .with_no_client_auth()
        };
        let protocol: &[u8] = match protocol {
            Protocol::Http1 => b"http/1.1",
            Protocol::Http2 => b"h2",
        };
        config.alpn_protocols.push(protocol.into());
        // It serves one connection: there is nothing to resume.
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    async fn roots(&self) -> Arc<RootCertStore> {
        let load = || async { Arc::new(spawn_blocking(native).await.unwrap_or_else(|_| none())) };
        self.roots.get_or_init(load).await.clone()
    }
}

/// Whom the system trusts.
fn native() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (good, bad) = roots.add_parsable_certificates(found.certs);
    if good == 0 || !found.errors.is_empty() {
        let errors = &found.errors;
        tracing::warn!(
            good,
            bad,
            ?errors,
            "not all certificates that the system trusts could be read"
        );
    }
    roots
}

fn none() -> RootCertStore {
    RootCertStore::empty()
}

fn read(file: &str) -> io::Result<RootCertStore> {
    let wrong = |what: String| io::Error::other(format!("{file}: {what}"));
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(file).map_err(|e| wrong(e.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        let added = roots.add(certificate);
        added.map_err(|error| wrong(error.to_string()))?;
    }
    match roots.is_empty() {
        true => Err(wrong("there is no certificate in it".into())),
        false => Ok(roots),
    }
}

// === impl AnyCertificate ===

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.0.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
