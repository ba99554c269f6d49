//! Hosts of their own: network namespaces that are joined by a bridge, and rules between them.
//!
//! Each namespace lives as long as a process that holds it, and that one as long as its standard
//! input is open: whatever becomes of the tests, nothing is left behind.

use std::{
    io::Write as _,
    net::{IpAddr, Ipv4Addr},
    process::{Child, ChildStdin, Command, Stdio},
    sync::atomic::{AtomicU8, Ordering},
    time::{Duration, Instant},
};

use super::tools::run;
use crate::support::etcd::Home;

/// How long a namespace may take to be there.
const PATIENCE: Duration = Duration::from_secs(5);

/// Hosts on one network, which this process reaches too.
pub struct Namespaces {
    /// Holds the bridge; the end of it takes all links along.
    _hub: Holder,
    hosts: Vec<Host>,
    network: [u8; 3],
}

struct Host {
    holder: Holder,
    address: Ipv4Addr,
}

/// A process that holds a network namespace.
struct Holder {
    child: Child,
    stdin: Option<ChildStdin>,
}

// === impl Namespaces ===

impl Namespaces {
    /// Makes so many hosts.
    pub fn new(hosts: usize) -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let process = u8::try_from(std::process::id() % 200).unwrap();
        // Private, and used by nobody on a machine that only tests.
        let network = [10, 213, process.wrapping_add(number)];
        let hub = Holder::start();
        hub.enter("ip", &["link", "add", "bridge", "type", "bridge"]);
        hub.enter("ip", &["link", "set", "bridge", "up"]);
        // Our own way in. Both ends of a pair go with the namespace of either.
        let outside = format!("st{process}x{number}");
        hub.join(&outside, None);
        let ours = format!("{}/24", Self::address_in(network, 1));
        run("ip", &["address", "add", &ours, "dev", &outside]);
        run("ip", &["link", "set", &outside, "up"]);
        let hosts = (0..hosts).map(|index| {
            let holder = Holder::start();
            let address = Self::address_in(network, u8::try_from(index + 10).unwrap());
            hub.join(&format!("st{process}x{number}h{index}"), Some(&holder));
            holder.enter("ip", &["link", "set", "lo", "up"]);
            holder.enter(
                "ip",
                &["address", "add", &format!("{address}/24"), "dev", "eth"],
            );
            holder.enter("ip", &["link", "set", "eth", "up"]);
            holder.enter("nft", &["add", "table", "inet", "faults"]);
            for hook in ["input", "output"] {
                let chain = format!("{{ type filter hook {hook} priority 0; }}");
                holder.enter("nft", &["add", "chain", "inet", "faults", hook, &chain]);
            }
            Host { holder, address }
        });
        Self {
            hosts: hosts.collect(),
            _hub: hub,
            network,
        }
    }

    /// Where a process lives on a host.
    pub fn home(&self, host: usize) -> Home {
        let host = &self.hosts[host];
        Home {
            address: IpAddr::V4(host.address),
            enter: host.holder.entry(),
        }
    }

    /// The address of this process on their network.
    pub fn own_address(&self) -> Ipv4Addr {
        Self::address_in(self.network, 1)
    }

    /// Nothing goes from one host to another, in this direction.
    pub fn cut(&self, from: usize, to: usize) {
        let address = self.hosts[to].address.to_string();
        self.rule(from, "output", &["ip", "daddr", &address, "drop"]);
    }

    /// Two hosts do not hear each other.
    pub fn cut_both(&self, one: usize, other: usize) {
        self.cut(one, other);
        self.cut(other, one);
    }

    /// So many of a hundred packets between a host and this process are lost, in each direction.
    pub fn lose(&self, host: usize, percent: u8) {
        let (ours, percent) = (self.own_address().to_string(), percent.to_string());
        for (hook, side) in [("input", "saddr"), ("output", "daddr")] {
            let share = ["numgen", "random", "mod", "100", "<", &percent, "drop"];
            self.rule(host, hook, &[&["ip", side, &ours], &share[..]].concat());
        }
    }

    /// Forgets all rules.
    pub fn heal(&self) {
        for host in &self.hosts {
            host.holder
                .enter("nft", &["flush", "table", "inet", "faults"]);
        }
    }

    fn rule(&self, host: usize, hook: &str, rule: &[&str]) {
        let arguments = [&["add", "rule", "inet", "faults", hook], rule].concat();
        self.hosts[host].holder.enter("nft", &arguments);
    }

    fn address_in(network: [u8; 3], host: u8) -> Ipv4Addr {
        let [a, b, c] = network;
        Ipv4Addr::new(a, b, c, host)
    }
}

// === impl Holder ===

impl Holder {
    fn start() -> Self {
        let mut child = Command::new("unshare")
            .args(["--net", "sh", "-c", "read -r _"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("unshare does not run ({error}); `tests/faults/install` installs it")
            });
        let holder = Self {
            stdin: child.stdin.take(),
            child,
        };
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        let started = Instant::now();
        // Until `unshare` has done so the process is in ours.
        loop {
            match std::fs::read_link(format!("/proc/{}/ns/net", holder.child.id())) {
                Ok(namespace) if namespace != own => return holder,
                _ if started.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(1)),
                other => panic!("there is no new network namespace ({other:?}): root is needed"),
            }
        }
    }

    /// The command that enters the namespace, before another command.
    fn entry(&self) -> Vec<String> {
        let pid = self.child.id().to_string();
        ["nsenter", "-t", &pid, "-n"].map(str::to_owned).into()
    }

    fn enter(&self, program: &str, arguments: &[&str]) {
        let pid = self.child.id().to_string();
        let entry = ["-t", &pid, "-n", program];
        run("nsenter", &[&entry, arguments].concat());
    }

    /// Joins a host, or this process, to the bridge of this one, by a pair of which the outer end
    /// is called `eth`, or `name` where it stays with us.
    fn join(&self, name: &str, host: Option<&Holder>) {
        let hub = self.child.id().to_string();
        let inner = format!("{name}b");
        let mut pair = vec!["link", "add", name, "type", "veth", "peer", "name", &inner];
        pair.extend(["netns", &hub]);
        run("ip", &pair);
        self.enter("ip", &["link", "set", &inner, "master", "bridge", "up"]);
        if let Some(host) = host {
            let pid = host.child.id().to_string();
            run("ip", &["link", "set", name, "netns", &pid]);
            host.enter("ip", &["link", "set", name, "name", "eth"]);
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        if let Some(mut stdin) = self.stdin.take() {
            // A holder that is gone needs no word.
            let _ = stdin.write_all(b"\n");
        }
        let _ = self.child.wait();
    }
}
