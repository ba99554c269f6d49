//! TLS to a member.
//!
//! The files are read anew for each connection, so that replacing them is all it takes; what cannot
//! be used leaves in use what was read before. Connections that are open go on.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{io::AsyncBufReadExt as _, net::TcpStream, time::timeout};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        self, CertificateError, ClientConfig, RootCertStore,
        client::ResolvesClientCert,
        crypto::{CryptoProvider, ring},
        pki_types::{
            CertificateDer, PrivateKeyDer, ServerName, UnixTime,
            pem::{self, PemObject},
        },
        server::WebPkiClientVerifier,
        sign::{CertifiedKey, SingleCertAndKey},
    },
};

use super::settings::Settings;

/// How long the server's first word is waited for after a handshake.
const FIRST_WORD: Duration = Duration::from_millis(250);

/// How to talk TLS with one member.
pub(super) struct Tls {
    files: Files,
    server_name: ServerName<'static>,
    provider: Arc<CryptoProvider>,
    good: Mutex<Good>,
}

/// Where it is written whom to trust and who we are.
struct Files {
    ca: String,
    /// Both or neither.
    identity: Option<(String, String)>,
}

/// What was read last and can be used.
struct Good {
    roots: Arc<RootCertStore>,
    identity: Option<Arc<dyn ResolvesClientCert>>,
    /// What is wrong with the files since then; empty if nothing is.
    complaint: String,
}

// === impl Tls ===

impl Tls {
    /// Reads the files. `host` is what the member's certificate must be for, unless the settings
    /// name something else.
    pub(super) async fn new(host: &str, settings: &Settings) -> Result<Self, String> {
        let name = match settings.server_name.as_str() {
            "" => host.trim_matches(['[', ']']),
            name => name,
        };
        let server_name = ServerName::try_from(name.to_owned())
            .map_err(|_| format!("{name:?} is no name that a certificate can be for"))?;
        let both = (settings.cert_file.clone(), settings.key_file.clone());
        let files = Files {
            ca: settings.ca_file.clone(),
            identity: (!settings.cert_file.is_empty()).then_some(both),
        };
        let provider = Arc::new(ring::default_provider());
        let roots = files.roots().await?;
        let identity = files.identity(&roots, &provider).await?;
        Ok(Self {
            files,
            server_name,
            provider,
            good: Mutex::new(Good {
                roots,
                identity,
                complaint: String::new(),
            }),
        })
    }

    /// Opens a connection to `address`, `host:port`.
    pub(super) async fn connect(
        self: Arc<Self>,
        address: String,
    ) -> io::Result<TlsStream<TcpStream>> {
        let config = self.config(&address).await.map_err(io::Error::other)?;
        let stream = TcpStream::connect(&address).await?;
        stream.set_nodelay(true)?;
        let failed = |error| io::Error::other(format!("TLS with {address} failed: {error}"));
        let connector = TlsConnector::from(Arc::new(config));
        let name = self.server_name.clone();
        let mut stream = connector.connect(name, stream).await.map_err(failed)?;
        // A server may refuse our certificate after the handshake is over on our side. Once we had
        // sent something, its reason could be lost with the connection. A server that waits for us
        // to begin is not waited for.
        if let Ok(Err(error)) = timeout(FIRST_WORD, stream.fill_buf()).await {
            return Err(failed(error));
        }
        Ok(stream)
    }

    /// What the files say now, or said before.
    async fn config(&self, address: &str) -> Result<ClientConfig, rustls::Error> {
        let roots = self.files.roots().await;
        let trusted = match &roots {
            Ok(roots) => Arc::clone(roots),
            Err(_) => Arc::clone(&self.lock().roots),
        };
        let identity = self.files.identity(&trusted, &self.provider).await;

        let mut good = self.lock();
        let mut complaints = Vec::new();
        match roots {
            Ok(roots) => good.roots = roots,
            Err(complaint) => complaints.push(complaint),
        }
        match identity {
            Ok(identity) => good.identity = identity,
            Err(complaint) => complaints.push(complaint),
        }
        let complaint = complaints.join("; ");
        if !complaint.is_empty() && complaint != good.complaint {
            tracing::warn!(
                endpoint = address,
                complaint,
                "new TLS files cannot be used; those of before stay in use"
            );
        }
        good.complaint = complaint;

        let config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(Arc::clone(&good.roots));
        let mut config = match &good.identity {
            Some(identity) => config.with_client_cert_resolver(Arc::clone(identity)),
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols.push(b"h2".to_vec());
        Ok(config)
    }

    fn lock(&self) -> MutexGuard<'_, Good> {
        self.good.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Files ===

impl Files {
    async fn roots(&self) -> Result<Arc<RootCertStore>, String> {
        let file = &self.ca;
        let mut roots = RootCertStore::empty();
        for certificate in certificates(file).await? {
            roots
                .add(certificate)
                .map_err(|error| format!("{file}: {error}"))?;
        }
        Ok(Arc::new(roots))
    }

    async fn identity(
        &self,
        roots: &Arc<RootCertStore>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn ResolvesClientCert>>, String> {
        let Some((cert_file, key_file)) = &self.identity else {
            return Ok(None);
        };
        let chain = certificates(cert_file).await?;
        let key = PrivateKeyDer::from_pem_slice(&read(key_file).await?)
            .map_err(|error| format!("{key_file}: {}", in_words(&error, "private key")))?;
        check_validity(&chain, roots, provider).map_err(|error| format!("{cert_file}: {error}"))?;
        // Fails for a pair of which only one half was replaced yet.
        let pair = CertifiedKey::from_der(chain, key, provider)
            .map_err(|error| format!("{cert_file} and {key_file}: {error}"))?;
        Ok(Some(Arc::new(SingleCertAndKey::from(pair))))
    }
}

/// Checks that a certificate is valid now. Its issuer need not be among `roots`, which are for the
/// servers: that is for the server to judge.
fn check_validity(
    chain: &[CertificateDer<'static>],
    roots: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<(), String> {
    use CertificateError as Flaw;
    let Some((own, issuers)) = chain.split_first() else {
        return Ok(());
    };
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider))
            .build()
            .map_err(|error| error.to_string())?;
    let flaw = match verifier.verify_client_cert(own, issuers, UnixTime::now()) {
        Err(rustls::Error::InvalidCertificate(flaw)) => flaw,
        _ => return Ok(()),
    };
    match flaw {
        Flaw::Expired | Flaw::ExpiredContext { .. } => Err("it has expired".to_owned()),
        Flaw::NotValidYet | Flaw::NotValidYetContext { .. } => {
            Err("it is not valid yet".to_owned())
        }
        Flaw::BadEncoding => Err("it is no certificate".to_owned()),
        _ => Ok(()),
    }
}

/// The certificates in a file, at least one.
async fn certificates(file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read(file).await?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err(format!("{file}: there is no certificate in it"))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(format!("{file}: {}", in_words(&error, "certificate"))),
    }
}

async fn read(file: &str) -> Result<Vec<u8>, String> {
    let read = tokio::fs::read(file).await;
    read.map_err(|error| format!("{file}: {error}"))
}

fn in_words(error: &pem::Error, wanted: &str) -> String {
    match error {
        pem::Error::NoItemsFound => format!("there is no {wanted} in it"),
        error => error.to_string(),
    }
}
