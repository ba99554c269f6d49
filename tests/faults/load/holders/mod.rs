//! Clients that take turns under locks, or at leading, and count meanwhile, and remember all that
//! they were told. Half of them claim by calls, half by streams that they hold.
//!
//! Some are cut off now and then for longer than their session lives, and go on in the belief that
//! they hold the lock. The links of some streams break: then the same request goes on at another
//! replica, or nobody comes back. Some locks are delayed when a holder dies.

mod belief;
mod claim;
mod counting;
mod hold;
mod messages;
mod streaming;
mod told;
mod turn;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use stanchion_client::{Client, Options, SessionOptions};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use self::{
    claim::{GiveUp, Want},
    told::Told,
    turn::Abandoned,
};
use super::sessions::TTL;
use crate::{
    harness::{Proxy, World},
    lock_history::Event,
};

/// Where the counters are: one for each lock.
pub const COUNTERS: &str = "counted/";
/// How many locks there are, the election included.
const LOCKS: usize = 8;
/// The lock that all want in a storm: it is for readers too, and its writers delay it.
const STORMED: usize = 6;
/// How many of those who claim by calls are cut off now and then.
const PAUSING: usize = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// All of them, busy until they are stopped.
pub struct Holders {
    told: Arc<Told>,
    /// How many locks they want.
    locks: usize,
    stop: CancellationToken,
    tasks: JoinSet<Holder>,
}

/// What they were told.
pub struct Record {
    pub events: Vec<Event>,
    /// When its time began.
    pub begun: std::time::Instant,
    /// Their sessions, and what they left, end with them.
    _holders: Vec<Holder>,
}

/// One of them.
struct Holder {
    number: usize,
    /// Which of the locks it wants.
    place: usize,
    lock: String,
    client: Client,
    channels: Vec<Channel>,
    told: Arc<Told>,
    numbers: Arc<AtomicU64>,
    /// Links of its own, if they break now and then.
    links: Vec<Proxy>,
    /// A claim of which it does not know that it is gone: it would wait behind itself.
    left: Mutex<Option<GiveUp>>,
    /// A claim that it does not come back to, and that ought to go by itself.
    abandoned: Mutex<Option<Abandoned>>,
}

// === impl Holders ===

impl Holders {
    /// Starts so many of them, spread over the locks and the replicas.
    pub async fn start(world: &World, count: usize) -> Self {
        // Of those that hold by streams, one for each lock.
        let breaks = |number| number < PAUSING || (LOCKS..2 * LOCKS).contains(&number);
        Self::spread(world, count, LOCKS, |number| number % LOCKS, breaks).await
    }

    /// Starts so many of them who all want the same lock, over links that are good.
    pub async fn storm(world: &World, count: usize) -> Self {
        Self::spread(world, count, 1, |_| STORMED, |_| false).await
    }

    /// Starts so many of them, each of whom wants the lock at its place, and whose links break or
    /// do not.
    async fn spread(
        world: &World,
        count: usize,
        locks: usize,
        place: impl Fn(usize) -> usize,
        breaks: impl Fn(usize) -> bool,
    ) -> Self {
        let told = Arc::new(Told::new());
        let numbers = Arc::<AtomicU64>::default();
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        for number in 0..count {
            let mut endpoints = world.fronts();
            let mut links = Vec::new();
            if breaks(number) {
                for replica in &world.replicas {
                    links.push(Proxy::to(replica.front.address).await);
                }
                endpoints = links.iter().map(|link| link.address.to_string()).collect();
            }
            let options = Options {
                session: SessionOptions {
                    ttl: Some(TTL),
                    client_id: format!("holder-{number}"),
                    ..SessionOptions::default()
                },
                ..Options::default()
            };
            let turn = number % endpoints.len();
            endpoints.rotate_left(turn);
            let client = Client::connect(&endpoints, options).unwrap();
            let channels = client.channels().map(|(_, channel)| channel).collect();
            let holder = Holder {
                number,
                place: place(number),
                lock: Want::of(place(number), false).name,
                channels,
                client,
                told: told.clone(),
                numbers: numbers.clone(),
                links,
                left: Mutex::default(),
                abandoned: Mutex::default(),
            };
            tasks.spawn(holder.run(stop.clone()));
        }
        Self {
            told,
            locks,
            stop,
            tasks,
        }
    }

    /// Waits until clients were told so much.
    pub async fn reach(&self, operations: usize, within: Duration) {
        let deadline = Instant::now() + within;
        while self.told.answers() < operations {
            let answers = self.told.answers();
            assert!(Instant::now() < deadline, "only {answers} operations");
            sleep(PAUSE).await;
        }
    }

    /// Waits until each lock was granted once more.
    pub async fn all_go_on(&self, within: Duration) {
        let before = self.told.len();
        let deadline = Instant::now() + within;
        loop {
            let granted: BTreeSet<String> = self.told.granted_since(before);
            if granted.len() == self.locks {
                return;
            }
            assert!(Instant::now() < deadline, "only {granted:?} go on");
            sleep(PAUSE).await;
        }
    }

    /// Lets each end its turn; returns what they were told.
    pub async fn stop(mut self) -> Record {
        self.stop.cancel();
        let mut holders = Vec::new();
        while let Some(ended) = self.tasks.join_next().await {
            holders.push(ended.unwrap());
        }
        Record {
            events: self.told.take(),
            begun: self.told.begun,
            _holders: holders,
        }
    }
}

// === impl Holder ===

impl Holder {
    /// What it wants in this turn.
    fn want(&self, turn: usize) -> Want {
        let odd = (self.number / LOCKS + turn) % 2 == 1;
        Want::of(self.place, odd)
    }

    /// Whether it holds by streams.
    fn streams(&self) -> bool {
        (self.number / LOCKS) % 2 == 1
    }

    /// A number that nobody else has.
    fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }
}
