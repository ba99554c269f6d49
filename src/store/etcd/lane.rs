//! How connections to a member are made: plain or over TLS, with or without a user's token.

use std::{sync::Arc, time::Duration};

use etcd_client::{Channel, Client, ConnectOptions};
use http::{HeaderValue, Request, Uri, header::USER_AGENT};
use tower::util::BoxCloneSyncService;

use super::{
    connection::Connection,
    error::{self, unavailable},
    login::Login,
    settings::Settings,
    tls::Tls,
};
use crate::store::{Error, Outcome};

/// Who we are to etcd's log.
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("stanchion/", env!("CARGO_PKG_VERSION")));

/// Where a member is and how it is reached.
#[derive(Clone)]
pub(super) struct Way {
    /// `host:port`.
    pub(super) address: String,
    /// The address with the scheme.
    origin: Uri,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) connect_timeout: Duration,
    pub(super) ping_interval: Duration,
    pub(super) ping_timeout: Duration,
}

/// Makes the connections to one member.
pub(super) struct Lanes {
    way: Way,
    /// Whose tokens go with every request; none without a user.
    pub(super) login: Option<Arc<Login>>,
}

// === impl Way ===

impl Way {
    /// `address` is `host:port`, `origin` the same with the scheme.
    pub(super) fn new(
        address: String,
        origin: Uri,
        tls: Option<Arc<Tls>>,
        settings: &Settings,
    ) -> Self {
        Self {
            address,
            origin,
            tls,
            connect_timeout: settings.connect_timeout,
            ping_interval: settings.ping_interval,
            ping_timeout: settings.ping_timeout,
        }
    }

    /// Has a request say where it goes.
    pub(super) fn direct<T>(&self, request: &mut Request<T>) -> Result<(), http::Error> {
        let mut parts = self.origin.clone().into_parts();
        parts.path_and_query = request.uri().path_and_query().cloned();
        *request.uri_mut() = Uri::from_parts(parts)?;
        request.headers_mut().insert(USER_AGENT, AGENT);
        Ok(())
    }
}

// === impl Lanes ===

impl Lanes {
    /// Reads the files of TLS; nothing connects yet.
    pub(super) async fn new(endpoint: &str, settings: &Settings) -> Result<Self, Error> {
        let wrong = |why: &str| Error::Invalid(format!("the etcd endpoint {endpoint} is {why}"));
        let (address, origin) = parse(endpoint, settings.tls).map_err(|why| wrong(&why))?;
        let tls = match origin.host() {
            Some(host) if settings.tls => {
                let tls = Tls::new(host, settings).await;
                let tls = tls.map_err(|why| Error::Invalid(format!("no TLS to etcd: {why}")))?;
                Some(Arc::new(tls))
            }
            _ => None,
        };
        let mut lanes = Self {
            way: Way::new(address, origin, tls, settings),
            login: None,
        };
        if !settings.user.is_empty() {
            let auth = client(lanes.open(), false).await?.auth_client();
            lanes.login = Some(Login::new(auth, settings));
        }
        Ok(lanes)
    }

    /// A connection that is made with its first call, and again whenever it has to.
    pub(super) fn open(&self) -> Channel {
        let connection = Connection::new(self.way.clone());
        Channel::Custom(match &self.login {
            None => BoxCloneSyncService::new(connection),
            Some(login) => BoxCloneSyncService::new(login.on(connection)),
        })
    }
}

/// A client on one connection.
pub(super) async fn client(channel: Channel, require_leader: bool) -> Result<Client, Error> {
    let options = ConnectOptions::new().with_require_leader(require_leader);
    Client::from_channel(channel, Some(options))
        .await
        .map_err(|error| unavailable(error.to_string(), Outcome::NotDone))
}

/// `host:port` of an endpoint and its address with the scheme; or what it is instead.
fn parse(endpoint: &str, tls: bool) -> Result<(String, Uri), String> {
    let scheme = if tls { "https" } else { "http" };
    let address = endpoint
        .strip_prefix(scheme)
        .and_then(|rest| rest.strip_prefix("://"))
        .unwrap_or(endpoint);
    if address.contains("://") {
        return Err(format!("neither host:port nor {scheme}://host:port"));
    }
    let origin: Uri = format!("{scheme}://{address}")
        .parse()
        .map_err(|error| format!("no address: {}", error::describe(&error)))?;
    Ok((address.to_owned(), origin))
}
