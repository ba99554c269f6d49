//! Where a check may connect to, and the way there.
//!
//! What is registered decides where replicas connect to, so it must not lead them to what only they
//! can reach. A name is resolved once, and what is judged is what is connected to: resolved again,
//! it could mean something else.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs},
    sync::Arc,
};

use tokio::{net::TcpStream, sync::Semaphore, task::spawn_blocking};

use super::failure::Failure;

/// How many names are resolved at once: the system does it on threads, and keeps them when nobody
/// waits any more.
const LOOKUPS: usize = 32;
/// How many addresses of a name are tried.
const ADDRESSES: usize = 8;
/// Where clouds tell their machines' secrets, besides link-local addresses.
const METADATA_V4: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
/// The prefix of IPv6 addresses that are translated to IPv4.
const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];

/// Opens connections to what is checked.
pub(super) struct Dialer {
    allow_link_local: bool,
    lookups: Arc<Semaphore>,
}

// === impl Dialer ===

impl Dialer {
    pub(super) fn new(allow_link_local: bool) -> Self {
        Self {
            allow_link_local,
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
        }
    }

    /// Connects to the first address of `host` that may be checked and accepts.
    pub(super) async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, Failure> {
        let mut failure = Failure::Unresolved;
        for address in self.resolve(host, port).await? {
            if !self.allows(address.ip()) {
                failure = Failure::Forbidden(address.ip());
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = Failure::of_connect(&error),
            }
        }
        Err(failure)
    }

    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
        if let Ok(ip) = host.trim_matches(['[', ']']).parse() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let permit = self.lookups.clone().acquire_owned().await;
        let host = host.to_owned();
        let lookup = spawn_blocking(move || {
            // Until the thread is free again, whoever still waits.
            let _permit = permit;
            let found = (host, port).to_socket_addrs();
            found.map(|addresses| addresses.take(ADDRESSES).collect())
        });
        match lookup.await {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(_)) | Err(_) => Err(Failure::Unresolved),
        }
    }

    fn allows(&self, ip: IpAddr) -> bool {
        let ip = translated(ip.to_canonical());
        !is_nobody(ip) && (self.allow_link_local || !is_of_the_machine(ip))
    }
}

/// The IPv4 address that an IPv6 address stands for, if it does.
fn translated(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) if v6.segments()[..6] == NAT64 => {
            let [.., a, b, c, d] = v6.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        ip => ip,
    }
}

/// Says whether no one host has the address.
fn is_nobody(ip: IpAddr) -> bool {
    ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// Says whether the address is of this machine's own link, where clouds tell it secrets.
fn is_of_the_machine(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local() || v4 == METADATA_V4,
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6 == METADATA_V6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_link_and_of_cloud_metadata_are_not_checked_however_they_are_written() {
        let dialer = Dialer::new(false);
        for address in [
            "169.254.169.254",
            "169.254.0.1",
            "100.100.100.200",
            "fe80::1",
            "fd00:ec2::254",
            "::ffff:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
        ] {
            assert!(!dialer.allows(address.parse().unwrap()), "{address}");
        }
        for address in ["127.0.0.1", "::1", "10.0.0.1", "192.0.2.1", "fd00:ec2::253"] {
            assert!(dialer.allows(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn a_setting_opens_the_link_but_not_what_is_no_host() {
        let dialer = Dialer::new(true);
        assert!(dialer.allows("169.254.169.254".parse().unwrap()));
        assert!(dialer.allows("fe80::1".parse().unwrap()));
        assert!(!dialer.allows("0.0.0.0".parse().unwrap()));
        assert!(!dialer.allows("224.0.0.1".parse().unwrap()));
    }

    #[tokio::test]
    async fn a_name_is_judged_by_the_address_it_means() {
        // The system resolves what is no address to any parser of ours.
        let found = Dialer::new(false).connect("0x7f.1", 1).await;
        assert_eq!(found.unwrap_err(), Failure::Unreachable("refused"));
        let found = Dialer::new(false).connect("2852039166", 80).await;
        let metadata = "169.254.169.254".parse().unwrap();
        assert_eq!(found.unwrap_err(), Failure::Forbidden(metadata));
        let found = Dialer::new(false).connect("no such.invalid", 80).await;
        assert_eq!(found.unwrap_err(), Failure::Unresolved);
    }
}
