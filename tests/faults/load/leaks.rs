//! What may not stay behind once clients are gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use etcd_client::GetOptions;

use crate::{
    harness::{Figures, World},
    support::scrape,
};

/// How long everything may take to be gone.
const PATIENCE: Duration = Duration::from_secs(20);
/// By how many open files a replica may differ from before: connections to members come and go.
const FILES: usize = 5;
/// By how much the memory of a replica may have grown: its log of changes, and what the allocator
/// keeps.
const MEMORY: usize = 64 * 1024 * 1024;

/// The time to live of a fence, in seconds.
const FENCE: i64 = 60;

/// What the processes of replicas held before there were clients, by process id.
pub struct Before(BTreeMap<u32, Held>);

/// What a process holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    files: usize,
    memory: usize,
}

// === impl Before ===

impl Before {
    pub fn of(world: &World) -> Self {
        let running = world.replicas.iter().filter(|replica| replica.runs());
        Self(
            running
                .map(|replica| (replica.pid(), Held::of(replica.pid())))
                .collect(),
        )
    }

    /// Waits until nothing of clients is left; panics when something stays.
    pub async fn is_restored(&self, world: &World, figures: &mut Figures) {
        let begun = Instant::now();
        while let Err(what) = self.left(world).await {
            assert!(begun.elapsed() < PATIENCE, "what stays behind: {what}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let grown = world.replicas.iter().filter_map(|replica| {
            let before = self.0.get(&replica.pid())?;
            Some(Held::of(replica.pid()).memory.saturating_sub(before.memory))
        });
        if let Some(grown) = grown.max() {
            figures.add("memory grew by", format!("{} MiB", grown / 1024 / 1024));
        }
    }

    async fn left(&self, world: &World) -> Result<(), String> {
        for (index, replica) in world.replicas.iter().enumerate() {
            for metric in ["stanchion_rpc_open_calls", "stanchion_rpc_connections"] {
                let left = replica.metric(metric);
                if left != 0.0 {
                    return Err(format!("{metric} of replica {index}: {left}"));
                }
            }
            let now = Held::of(replica.pid());
            let Some(before) = self.0.get(&replica.pid()) else {
                // It was started since.
                continue;
            };
            if now.files.abs_diff(before.files) > FILES || now.memory > before.memory + MEMORY {
                return Err(format!("replica {index} holds {now:?}, before {before:?}"));
            }
        }
        let mut watchers = 0.0;
        let endpoints = world.etcd.plain_endpoints().into_iter().enumerate();
        for (_, member) in endpoints.filter(|(member, _)| world.etcd.runs(*member)) {
            let page = scrape::get(member.parse().unwrap(), "/metrics");
            let page = page.map_err(|error| format!("member {member}: {error}"))?;
            watchers += scrape::metric(&page, "etcd_debugging_mvcc_watcher_total", "");
        }
        if watchers != world.replicas.len() as f64 {
            return Err(format!("{watchers} watches in etcd"));
        }
        leases_without_keys(world).await
    }
}

/// Every lease has its key: a session, or the presence of a replica.
async fn leases_without_keys(world: &World) -> Result<(), String> {
    let asked = async {
        let mut etcd = world.etcd.client(world.leader().await).await;
        let all = GetOptions::new().with_prefix().with_keys_only();
        let keys = etcd.get("/", Some(all)).await?;
        let used: BTreeSet<_> = keys.kvs().iter().map(|key| key.lease()).collect();
        let mut unused = Vec::new();
        for lease in etcd.leases().await?.leases() {
            if !used.contains(&lease.id()) {
                let lease = etcd.lease_time_to_live(lease.id(), None).await?;
                unused.push((lease.id(), lease.granted_ttl()));
            }
        }
        Ok::<_, etcd_client::Error>(unused)
    };
    let mut unused = asked.await.map_err(|error| error.to_string())?;
    // That of a fence that was not needed ends by itself.
    unused.retain(|(_, ttl)| *ttl != FENCE);
    if unused.is_empty() {
        return Ok(());
    }
    Err(format!("leases without a key: {unused:x?}"))
}

// === impl Held ===

impl Held {
    fn of(pid: u32) -> Self {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let memory = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.trim().strip_suffix(" kB"))
            .expect("a size");
        Self {
            files: files.count(),
            memory: 1024 * memory.parse::<usize>().unwrap(),
        }
    }
}
