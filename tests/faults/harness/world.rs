//! Everything that runs in a scenario, and what was done to it.

use std::{
    fmt::Display,
    net::SocketAddr,
    ops::Range,
    time::{Duration, Instant},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use rustix::process::Signal;
use tokio::time::{sleep, timeout};

use super::{access::Access, namespaces::Namespaces, replica::Replica, scenario::Scenario};
use crate::{
    support::etcd::{Etcd, Launch},
    watched::Watched,
    witness::Reach,
};

/// How long a member may take to say who leads.
const ASKING: Duration = Duration::from_millis(500);
/// How long the members may take to agree on a leader.
const ELECTION: Duration = Duration::from_secs(30);

/// A cluster with replicas over it.
pub struct World {
    pub etcd: Etcd,
    /// The hosts of the members, where they have some of their own.
    pub hosts: Option<Namespaces>,
    /// What replicas show to members, where those want something.
    pub access: Option<Access>,
    pub replicas: Vec<Replica>,
    /// What etcd does, from its first revision, and what watchers see of it, until it is judged.
    pub watched: Option<Watched>,
    /// Below which the replicas keep their keys.
    pub root: String,
    /// The members that were paused, and how many leases each had ended before.
    paused: Vec<(usize, f64)>,
    random: StdRng,
    started: Instant,
    /// What was done, and when.
    done: Vec<String>,
}

// === impl World ===

impl World {
    pub async fn new(plan: &Scenario, seed: u64) -> Self {
        let started = Instant::now();
        let hosts = plan.apart.then(|| Namespaces::new(plan.members));
        let mut launch = Launch::of(plan.members);
        if let Some(hosts) = &hosts {
            launch.homes = (0..plan.members).map(|member| hosts.home(member)).collect();
        }
        launch.binary = plan.binary;
        launch.synced = plan.synced;
        launch.flags = plan.flags.iter().map(|&flag| flag.to_owned()).collect();
        let access = plan.guard.map(|tokens| {
            let access = Access::new();
            access.prepare(&mut launch, tokens);
            access
        });
        let root = "faults".to_owned();
        let mut etcd = Etcd::launch(launch).await;
        if access.is_some() {
            etcd.guard(&format!("/{root}/")).await;
        }
        let mut world = Self {
            watched: Some(Watched::start(Reach::of(&etcd), &root)),
            etcd,
            hosts,
            access,
            replicas: Vec::new(),
            root,
            paused: Vec::new(),
            random: StdRng::seed_from_u64(seed),
            started,
            done: Vec::new(),
        };
        for _ in 0..plan.replicas {
            world.add_replica(plan.settings).await;
        }
        world
    }

    /// Starts one more replica.
    pub async fn add_replica(&mut self, settings: &[&str]) {
        let endpoints = self.etcd.endpoints();
        let members: Vec<SocketAddr> = endpoints.iter().map(|m| m.parse().unwrap()).collect();
        let settings: Vec<_> = settings.iter().map(|&s| s.to_owned()).collect();
        let replica = Replica::start(&members, &self.root, self.access.as_ref(), &settings).await;
        self.replicas.push(replica);
    }

    /// Where clients reach the replicas.
    pub fn fronts(&self) -> Vec<String> {
        let replicas = self.replicas.iter();
        replicas.map(|r| r.front.address.to_string()).collect()
    }

    /// Notes what is done.
    pub fn note(&mut self, what: impl Display) {
        let at = self.started.elapsed().as_secs_f64();
        self.done.push(format!("{at:7.3} s  {what}"));
    }

    /// What was done so far.
    pub fn done(&self) -> String {
        self.done.join("\n")
    }

    /// Lets time pass, for so many seconds.
    pub async fn wait(&mut self, seconds: Range<f64>) {
        let seconds = self.random.random_range(seconds);
        sleep(Duration::from_secs_f64(seconds)).await;
    }

    /// One of several.
    pub fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        *from.choose(&mut self.random).unwrap()
    }

    /// The member that leads. Waits until there is one.
    pub async fn leader(&self) -> usize {
        let found = timeout(ELECTION, async {
            loop {
                for member in 0..self.etcd.size() {
                    if self.etcd.runs(member) && self.leads(member).await {
                        return member;
                    }
                }
                sleep(Duration::from_millis(50)).await;
            }
        });
        found.await.expect("no member leads")
    }

    /// A member that does not lead.
    pub async fn follower(&mut self) -> usize {
        let leader = self.leader().await;
        let others: Vec<_> = (0..self.etcd.size()).filter(|m| *m != leader).collect();
        self.choose(&others)
    }

    async fn leads(&self, member: usize) -> bool {
        let asked = timeout(ASKING, async {
            let mut client = Reach::of(&self.etcd).client(member).await.ok()?;
            let status = client.status().await.ok()?;
            Some(status.leader() == status.header()?.member_id())
        });
        asked.await.ok().flatten().unwrap_or(false)
    }

    pub fn kill_member(&mut self, member: usize) {
        self.note(format!("kill member {member}"));
        self.etcd.kill(member);
    }

    pub fn start_member(&mut self, member: usize) {
        self.note(format!("start member {member}"));
        self.etcd.spawn(member);
    }

    /// Stops all members, does to the data of each what is to be done, and starts them again.
    pub async fn lose(&mut self, what: &str, change: impl Fn(&Etcd, usize)) {
        let watched = self.watched.as_mut().unwrap();
        watched.witness.catch_up().await;
        watched.witness.part().unwrap();
        for member in 0..self.etcd.size() {
            self.kill_member(member);
        }
        self.note(format!("lose {what}"));
        for member in 0..self.etcd.size() {
            change(&self.etcd, member);
            self.start_member(member);
        }
        for member in 0..self.etcd.size() {
            self.etcd.serves(member).await;
        }
        let reach = Reach::of(&self.etcd);
        self.watched.as_mut().unwrap().witness.restart(reach);
    }

    pub fn pause_member(&mut self, member: usize) {
        self.paused.push((member, self.leases_ended(member)));
        self.note(format!("pause member {member}"));
        self.etcd.pause(member);
    }

    pub fn resume_member(&mut self, member: usize) {
        self.note(format!("resume member {member}"));
        self.etcd.resume(member);
    }

    /// How many leases the members that were paused have ended since.
    pub fn leases_ended_by_the_paused(&self) -> usize {
        let paused = self.paused.iter();
        let ended = paused.map(|(member, before)| self.leases_ended(*member) - before);
        ended.sum::<f64>() as usize
    }

    fn leases_ended(&self, member: usize) -> f64 {
        self.etcd
            .metric_at(member, "etcd_debugging_server_lease_expired_total", "")
    }

    pub async fn kill_replica(&mut self, replica: usize) {
        self.note(format!("kill replica {replica}"));
        self.replicas[replica].kill().await;
    }

    /// Starts the process of a replica again and waits until it serves.
    pub async fn start_replica(&mut self, replica: usize) {
        self.note(format!("start replica {replica}"));
        self.replicas[replica].spawn();
        self.replicas[replica].serves().await;
        self.note(format!("replica {replica} serves"));
    }

    pub fn pause_replica(&mut self, replica: usize) {
        self.note(format!("pause replica {replica}"));
        self.replicas[replica].signal(Signal::STOP);
    }

    pub fn resume_replica(&mut self, replica: usize) {
        self.note(format!("resume replica {replica}"));
        self.replicas[replica].signal(Signal::CONT);
    }

    /// Asks a replica to stop, and waits until it has; says how long that took.
    pub async fn drain_replica(&mut self, replica: usize) -> Duration {
        self.note(format!("drain replica {replica}"));
        let begun = Instant::now();
        let clean = self.replicas[replica].drain().await;
        assert!(clean, "replica {replica} did not end with 0");
        self.note(format!("replica {replica} has ended"));
        begun.elapsed()
    }

    /// What replicas show to members.
    pub fn access(&self) -> &Access {
        self.access.as_ref().expect("a scenario of guarded members")
    }

    /// The hosts of the members.
    pub fn hosts(&self) -> &Namespaces {
        self.hosts.as_ref().expect("a scenario of hosts apart")
    }
}
