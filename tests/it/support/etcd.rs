//! Real etcd servers, started and stopped by the tests that need them.
//!
//! Each member runs under a small shell that kills it when the test process is gone, however that
//! ended, and removes its data.

mod member;
mod users;

use std::{
    fs::File,
    io::Write as _,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use etcd_client::ConnectOptions;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use self::member::Member;
pub use self::member::free_port;
pub use self::users::{PASSWORD, USER};
use super::{etcd_binary::Binary, pki, scrape};

/// How long a member may take until it serves: generous, for busy machines.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// One etcd cluster, gone with its data when dropped.
pub struct Etcd {
    members: Vec<Member>,
    /// How the tests themselves get in.
    pub options: ConnectOptions,
    /// Holds for the members that are started from now on.
    pub launch: Launch,
}

/// How a cluster is started.
#[derive(Debug, Clone)]
pub struct Launch {
    pub binary: Binary,
    /// Where each member lives; as many as there are to be members.
    pub homes: Vec<Home>,
    /// Whether a write waits for the disk. Most tests need no disk.
    pub synced: bool,
    /// Where every member says that clients reach it; none: where they do.
    pub advertised: Option<String>,
    /// Flags of every member beside the usual ones.
    pub flags: Vec<String>,
    /// Lets in only clients with a certificate that the trusted authority signed; but for the
    /// tests there is a [side door](Etcd::plain_endpoints).
    pub tls: Option<pki::Files>,
}

/// Where a member lives.
#[derive(Debug, Clone)]
pub struct Home {
    /// The address it listens on.
    pub address: IpAddr,
    /// The command that starts it there, such as one that enters a network namespace.
    pub enter: Vec<String>,
}

// === impl Etcd ===

impl Etcd {
    /// A cluster of one, for tests that need only keys of their own (see [`unique_prefix`]). It
    /// lives as long as the test process.
    pub async fn shared() -> &'static Etcd {
        static SHARED: OnceCell<Etcd> = OnceCell::const_new();
        SHARED.get_or_init(Etcd::start).await
    }

    /// Starts a cluster of one.
    pub async fn start() -> Etcd {
        Self::start_cluster(1).await
    }

    /// Starts a cluster on this host and waits until every member serves.
    pub async fn start_cluster(size: usize) -> Etcd {
        Self::start_cluster_of(Binary::Current, size).await
    }

    /// Starts a cluster of another etcd and waits until every member serves.
    pub async fn start_cluster_of(binary: Binary, size: usize) -> Etcd {
        Self::launch(Launch {
            binary,
            ..Launch::of(size)
        })
        .await
    }

    /// Starts a cluster and waits until every member serves.
    pub async fn launch(launch: Launch) -> Etcd {
        let homes = launch.homes.iter().enumerate();
        let members = homes
            .map(|(index, home)| Member::new(launch.binary, format!("m{index}"), home.clone()));
        let mut etcd = Etcd {
            members: members.collect(),
            options: ConnectOptions::new(),
            launch,
        };
        let cluster = etcd.initial_cluster();
        for member in &mut etcd.members {
            member.spawn(&cluster, &etcd.launch);
        }
        for member in &etcd.members {
            member.wait_until_it_serves().await;
        }
        etcd
    }

    /// Adds a member, starts it and waits until it serves; returns its index.
    pub async fn add(&mut self) -> usize {
        let index = self.join(false).await;
        self.members[index].wait_until_it_serves().await;
        index
    }

    /// Adds a member that has no vote, starts it and waits until the others know it; returns its
    /// index.
    pub async fn add_learner(&mut self) -> usize {
        let index = self.join(true).await;
        let mut client = self.client(0).await;
        let started = Instant::now();
        loop {
            let list = client.member_list().await.unwrap();
            let mut members = list.members().iter();
            if members.any(|member| member.name() == self.members[index].name) {
                return index;
            }
            assert!(
                started.elapsed() < START_TIMEOUT,
                "the learner is not known"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn join(&mut self, learner: bool) -> usize {
        let index = self.members.len();
        let home = self.launch.homes[0].clone();
        let mut member = Member::new(self.launch.binary, format!("m{index}"), home.clone());
        member.joins = true;
        let peer = member.peer_url();
        let mut options = etcd_client::MemberAddOptions::new();
        if learner {
            options = options.with_is_learner();
        }
        let present = (0..self.members.len()).rev().find(|old| self.runs(*old));
        let client = self.client(present.unwrap()).await;
        once_they_know_each_other(|| {
            let (mut client, options) = (client.clone(), options.clone());
            let peer = [peer.clone()];
            async move { client.member_add(peer, Some(options)).await }
        })
        .await;
        self.members.push(member);
        self.launch.homes.push(home);
        self.spawn(index);
        index
    }

    /// Removes a member from the cluster; its process ends by itself.
    pub async fn remove(&mut self, member: usize) {
        let other = (member + 1) % self.members.len();
        let status = self.client(member).await.status().await.unwrap();
        let id = status.header().unwrap().member_id();
        let client = self.client(other).await;
        once_they_know_each_other(|| {
            let mut client = client.clone();
            async move { client.member_remove(id).await }
        })
        .await;
        self.members[member].removed = true;
    }

    /// `host:port` of each member.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(Member::endpoint).collect()
    }

    /// `host:port` at which each member talks plainly, TLS or not.
    pub fn plain_endpoints(&self) -> Vec<String> {
        let members = self.members.iter();
        members.map(|m| m.plain_endpoint(&self.launch)).collect()
    }

    /// The files with which it talks TLS.
    pub fn tls(&self) -> &pki::Files {
        self.launch.tls.as_ref().unwrap()
    }

    /// `host:port` of the first member.
    pub fn endpoint(&self) -> String {
        self.members[0].endpoint()
    }

    /// Kills a member at once; its data stays.
    pub fn kill(&mut self, member: usize) {
        self.members[member].stop("keep\n");
    }

    /// Starts a killed member again, on its ports and its data, and waits until it serves.
    pub async fn restart(&mut self, member: usize) {
        self.spawn(member);
        self.members[member].wait_until_it_serves().await;
    }

    /// Starts a killed member again without waiting for it: alone it serves nothing.
    pub fn spawn(&mut self, member: usize) {
        let cluster = self.initial_cluster();
        self.members[member].spawn(&cluster, &self.launch);
    }

    /// Waits until a member serves.
    pub async fn serves(&self, member: usize) {
        self.members[member].wait_until_it_serves().await;
    }

    /// The process of a running member.
    pub fn pid(&self, member: usize) -> u32 {
        self.members[member].process.as_ref().unwrap().pid
    }

    /// Whether a member's process was started and not stopped by the test.
    pub fn runs(&self, member: usize) -> bool {
        self.members[member].process.is_some()
    }

    /// How many members there are.
    pub fn size(&self) -> usize {
        self.members.len()
    }

    /// Where a member keeps its data.
    pub fn data_dir(&self, member: usize) -> PathBuf {
        self.members[member].dir.join("data")
    }

    /// Starts a killed member again as another etcd, on its ports and its data.
    pub async fn restart_as(&mut self, member: usize, binary: Binary) {
        self.members[member].binary = binary;
        self.restart(member).await;
    }

    /// Removes the data of a killed member: it starts again with nothing.
    pub fn wipe(&self, member: usize) {
        let member = &self.members[member];
        assert!(member.process.is_none(), "{} runs", member.name);
        std::fs::remove_dir_all(member.dir.join("data")).unwrap();
    }

    /// Takes a backup as an operator does, into a file.
    pub async fn snapshot(&self, file: &Path) {
        let mut client = self.client(0).await;
        let mut parts = client.snapshot().await.unwrap();
        let mut copy = File::create(file).unwrap();
        while let Some(part) = parts.message().await.unwrap() {
            copy.write_all(part.blob()).unwrap();
        }
    }

    /// Restores a killed member from a backup. `flags` are those of `etcdutl snapshot restore`.
    pub fn restore_snapshot(&self, member: usize, file: &Path, flags: &[&str]) {
        self.wipe(member);
        let (member, cluster) = (&self.members[member], self.initial_cluster());
        let restored = Command::new(Binary::Etcdutl.path())
            .args(["snapshot", "restore"])
            .arg(file)
            .args(["--name", &member.name, "--data-dir"])
            .arg(member.dir.join("data"))
            .args(["--initial-cluster", &cluster])
            .args(["--initial-cluster-token", &cluster])
            .args(["--initial-advertise-peer-urls", &member.peer_url()])
            .args(flags)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&restored.stderr);
        assert!(restored.status.success(), "etcdutl: {said}");
    }

    /// Copies the data directory of a killed member.
    pub fn copy_data(&self, member: usize) -> TempDir {
        assert!(!self.runs(member), "the data changes while it is copied");
        let copy = tempfile::tempdir().unwrap();
        copy_all(&self.data_dir(member), &copy.path().join("data"));
        copy
    }

    /// Puts a copy in the place of the data directory of a killed member.
    pub fn put_back(&self, member: usize, copy: &TempDir) {
        self.wipe(member);
        copy_all(&copy.path().join("data"), &self.data_dir(member));
    }

    /// Stops a member's process without closing its connections.
    pub fn pause(&self, member: usize) {
        self.members[member].signal("-STOP");
    }

    /// Lets a paused member go on.
    pub fn resume(&self, member: usize) {
        self.members[member].signal("-CONT");
    }

    /// A client of one member that may do everything.
    pub async fn client(&self, member: usize) -> etcd_client::Client {
        let endpoint = self.members[member].plain_endpoint(&self.launch);
        etcd_client::Client::connect([endpoint], Some(self.options.clone()))
            .await
            .unwrap()
    }

    /// The index of the member that leads.
    pub async fn leader(&self) -> usize {
        for index in 0..self.members.len() {
            let status = self.client(index).await.status().await.unwrap();
            if status.leader() == status.header().unwrap().member_id() {
                return index;
            }
        }
        panic!("no member leads");
    }

    /// Compacts all history before now and returns the revision it was compacted at.
    pub async fn compact(&self) -> i64 {
        let mut client = self.client(0).await;
        let now = client.get("-", None).await.unwrap();
        let revision = now.header().unwrap().revision();
        let physical = etcd_client::CompactionOptions::new().with_physical();
        client.compact(revision, Some(physical)).await.unwrap();
        revision
    }

    /// A counter or gauge of the first member, summed over its labels.
    pub fn metric(&self, name: &str) -> f64 {
        self.metric_with(name, "")
    }

    /// The same, of the series whose labels contain `label` (as in `grpc_method="Txn"`).
    pub fn metric_with(&self, name: &str, label: &str) -> f64 {
        self.metric_at(0, name, label)
    }

    /// The same, of another member.
    pub fn metric_at(&self, member: usize, name: &str, label: &str) -> f64 {
        let page = self.members[member].http_get("/metrics").unwrap();
        scrape::metric(&page, name, label)
    }

    fn initial_cluster(&self) -> String {
        let members = self.members.iter().filter(|member| !member.removed);
        let urls = members.map(|member| format!("{}={}", member.name, member.peer_url()));
        urls.collect::<Vec<_>>().join(",")
    }
}

// === impl Launch ===

impl Launch {
    /// So many members on this host.
    pub fn of(size: usize) -> Self {
        let home = Home {
            address: Ipv4Addr::LOCALHOST.into(),
            enter: Vec::new(),
        };
        Self {
            binary: Binary::Current,
            homes: vec![home; size],
            synced: false,
            advertised: None,
            flags: Vec::new(),
            tls: None,
        }
    }
}

fn copy_all(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.unwrap().success(), "{from:?} was not copied");
}

/// Changes who belongs to a cluster: refused until its members have known each other for some
/// seconds.
async fn once_they_know_each_other<T, F>(change: impl Fn() -> F)
where
    F: Future<Output = Result<T, etcd_client::Error>>,
{
    let started = Instant::now();
    while let Err(error) = change().await {
        let early = error.to_string().contains("unhealthy cluster");
        assert!(early && started.elapsed() < START_TIMEOUT, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A key prefix that no other test uses.
pub fn unique_prefix(name: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("/{name}-{}-{number}/", std::process::id())
}
