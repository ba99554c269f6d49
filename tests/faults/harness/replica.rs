//! One replica: a process, a link to each member, and a link that its clients use.

use std::{net::SocketAddr, time::Duration};

use rustix::process::Signal;
use tonic::transport::{Channel, Endpoint};

use super::{access::Access, proxy::Proxy};
use crate::support::{process::Process, scrape};

/// A replica of the service.
pub struct Replica {
    /// Its links to the members, in their order.
    pub members: Vec<Proxy>,
    /// The link that its clients use; its address stays when the process is another one.
    pub front: Proxy,
    process: Option<Process>,
    arguments: Vec<String>,
}

// === impl Replica ===

impl Replica {
    /// Starts a replica that reaches `members` over links of its own, and shows them what they want.
    pub async fn start(
        members: &[SocketAddr],
        root: &str,
        access: Option<&Access>,
        settings: &[String],
    ) -> Self {
        let mut links = Vec::new();
        for member in members {
            links.push(Proxy::to(*member).await);
        }
        let endpoints: Vec<_> = links.iter().map(|link| link.address.to_string()).collect();
        let scheme = if access.is_some() { "etcds" } else { "etcd" };
        let store = format!("{scheme}://{}/{root}", endpoints.join(","));
        let mut arguments = vec!["--store".to_owned(), store, "--wait-for-store".to_owned()];
        arguments.extend(access.into_iter().flat_map(Access::arguments));
        let syncs = |setting: &String| setting.starts_with("--etcd-sync-interval");
        if !settings.iter().any(syncs) {
            // What the members advertise leads past the links.
            arguments.push("--etcd-sync-interval=off".to_owned());
        }
        arguments.extend_from_slice(settings);
        let mut replica = Self {
            members: links,
            front: Proxy::to(SocketAddr::from(([127, 0, 0, 1], 1))).await,
            process: None,
            arguments,
        };
        replica.spawn();
        replica.serves().await;
        replica
    }

    /// Starts the process, without waiting for it.
    pub fn spawn(&mut self) {
        assert!(self.process.is_none(), "the replica runs already");
        let arguments: Vec<_> = self.arguments.iter().map(String::as_str).collect();
        self.process = Some(Process::spawn(&arguments));
    }

    /// Waits until the process serves, and leads its clients to it.
    pub async fn serves(&mut self) {
        let process = self.process.as_mut().unwrap();
        process.serves().await;
        let address = process.address;
        self.front.change(|link| link.target = address);
    }

    /// Whether there is a process.
    pub fn runs(&self) -> bool {
        self.process.is_some()
    }

    pub fn process(&self) -> &Process {
        self.process.as_ref().unwrap()
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.process().id()
    }

    pub fn signal(&self, signal: Signal) {
        self.process().signal(signal);
    }

    /// Kills the process and waits until it is gone.
    pub async fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.signal(Signal::KILL);
        process.end().await;
    }

    /// Asks the process to stop and waits until it has; says whether it did so cleanly.
    pub async fn drain(&mut self) -> bool {
        let mut process = self.process.take().unwrap();
        process.signal(Signal::TERM);
        process.end().await.success()
    }

    /// Where the process itself serves, past the link.
    pub fn address(&self) -> SocketAddr {
        self.process().address
    }

    /// What the process logged, if there is one.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    /// A gauge or counter of the process, summed over its labels.
    pub fn metric(&self, name: &str) -> f64 {
        let page = scrape::get(self.process().operations_address, "/metrics").unwrap();
        scrape::metric(&page, name, "")
    }

    /// A connection over its front that is made when it is needed.
    pub fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.front.address))
            .unwrap()
            .connect_timeout(Duration::from_secs(1))
            .connect_lazy()
    }
}
