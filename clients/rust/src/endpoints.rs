//! The servers a client may talk to: one channel each, all calls at one of them until it fails.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use rand::Rng;
use tonic::transport::{Channel, Endpoint as Address};

use crate::{
    error::{Error, Result},
    options::Options,
};

/// How long a TCP connection may be idle before the kernel asks; finds peers that vanished.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// The endpoints of a client. Never empty.
#[derive(Debug)]
pub(crate) struct Endpoints {
    all: Vec<Endpoint>,
    current: AtomicUsize,
}

/// One server. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) index: usize,
    pub(crate) address: String,
    pub(crate) channel: Channel,
}

// === impl Endpoints ===

impl Endpoints {
    /// Takes addresses such as `http://host:7650` or `host:7650`. Connects when first used.
    pub(crate) fn new<S: AsRef<str>>(
        addresses: impl IntoIterator<Item = S>,
        options: &Options,
    ) -> Result<Self> {
        let all = addresses
            .into_iter()
            .enumerate()
            .map(|(index, address)| Endpoint::new(index, address.as_ref().trim(), options))
            .collect::<Result<Vec<_>>>()?;
        if all.is_empty() {
            return Err(Error::invalid("endpoints", "there is none"));
        }
        let first = if options.shuffle_endpoints {
            rand::rng().random_range(0..all.len())
        } else {
            0
        };
        Ok(Self {
            all,
            current: AtomicUsize::new(first),
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn all(&self) -> &[Endpoint] {
        &self.all
    }

    /// The one to talk to now.
    pub(crate) fn current(&self) -> Endpoint {
        self.all[self.current.load(Ordering::Relaxed) % self.all.len()].clone()
    }

    /// Moves on from an endpoint that failed, unless another call did already.
    pub(crate) fn leave(&self, failed: &Endpoint) {
        let next = (failed.index + 1) % self.all.len();
        let moved =
            self.current
                .compare_exchange(failed.index, next, Ordering::Relaxed, Ordering::Relaxed);
        if moved.is_ok() && next != failed.index {
            tracing::debug!(
                from = failed.address,
                to = self.all[next].address,
                "moves on"
            );
        }
    }
}

// === impl Endpoint ===

impl Endpoint {
    fn new(index: usize, address: &str, options: &Options) -> Result<Self> {
        let invalid = |why: String| Error::invalid("endpoints", format!("`{address}` {why}"));
        if address.starts_with("https://") {
            return Err(invalid("asks for TLS, which this release lacks".into()));
        }
        let url = if address.contains("://") {
            address.to_owned()
        } else {
            format!("http://{address}")
        };
        let parsed = Address::from_shared(url.clone())
            .map_err(|error| invalid(format!("is no address: {error}")))?;
        if parsed.uri().scheme_str() != Some("http") || parsed.uri().host().is_none() {
            return Err(invalid("is not like http://host:port".into()));
        }
        let channel = parsed
            .connect_timeout(options.connect_timeout)
            .http2_keep_alive_interval(options.keepalive_interval)
            .keep_alive_timeout(options.keepalive_timeout)
            .keep_alive_while_idle(true)
            .tcp_keepalive(Some(TCP_KEEPALIVE))
            .tcp_nodelay(true)
            .connect_lazy();
        Ok(Self {
            index,
            address: url,
            channel,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Endpoints {
        let options = Options {
            shuffle_endpoints: false,
            ..Options::default()
        };
        Endpoints::new(["http://127.0.0.1:1", "127.0.0.1:2"], &options).unwrap()
    }

    #[tokio::test]
    async fn calls_stay_at_one_endpoint_until_it_fails() {
        let endpoints = two();
        let first = endpoints.current();
        assert_eq!(endpoints.current().index, first.index);
        endpoints.leave(&first);
        assert_eq!(endpoints.current().address, "http://127.0.0.1:2");
    }

    #[tokio::test]
    async fn two_calls_that_fail_together_move_on_only_once() {
        let endpoints = two();
        let failed = endpoints.current();
        endpoints.leave(&failed);
        endpoints.leave(&failed);
        assert_eq!(endpoints.current().index, 1);
    }

    #[tokio::test]
    async fn what_is_no_address_is_refused_by_name() {
        for bad in ["", "ftp://host", "https://host:1", "http://"] {
            let error = Endpoints::new([bad], &Options::default()).unwrap_err();
            assert_eq!(error.violations()[0].field, "endpoints", "{bad}");
        }
        assert!(Endpoints::new::<&str>([], &Options::default()).is_err());
    }
}
