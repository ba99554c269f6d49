//! How connections to a member are made: plain or over TLS, with or without a user's token.

use std::sync::Arc;

use etcd_client::{Channel, Client, ConnectOptions};
use http::Uri;
use tonic::transport::Endpoint;
use tower::{service_fn, util::BoxCloneSyncService};

use super::{
    error::{self, unavailable},
    login::Login,
    settings::Settings,
    tls::Tls,
};
use crate::store::{Error, Outcome};

/// Makes the connections to one member.
pub(super) struct Lanes {
    endpoint: Endpoint,
    /// `host:port`.
    address: String,
    tls: Option<Arc<Tls>>,
    /// Whose tokens go with every request; none without a user.
    pub(super) login: Option<Arc<Login>>,
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
        // TLS is ours, so the transport is told of plain connections; etcd hears the truth.
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .and_then(|e| e.user_agent(concat!("stanchion/", env!("CARGO_PKG_VERSION"))))
            .map_err(|error| wrong(&format!("no address: {}", error::describe(&error))))?
            .origin(origin)
            .connect_timeout(settings.connect_timeout)
            .http2_keep_alive_interval(settings.ping_interval)
            .keep_alive_timeout(settings.ping_timeout)
            // etcd takes pings on idle connections for an attack.
            .keep_alive_while_idle(false);
        let mut lanes = Self {
            endpoint,
            address,
            tls,
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
        let channel = match &self.tls {
            None => self.endpoint.connect_lazy(),
            Some(tls) => {
                let (tls, address) = (Arc::clone(tls), self.address.clone());
                self.endpoint
                    .connect_with_connector_lazy(service_fn(move |_: Uri| {
                        Arc::clone(&tls).connect(address.clone())
                    }))
            }
        };
        match &self.login {
            None => Channel::Tonic(channel),
            Some(login) => Channel::Custom(BoxCloneSyncService::new(login.on(channel))),
        }
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
