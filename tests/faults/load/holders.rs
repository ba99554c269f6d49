//! Clients that take turns under locks and count under them, and remember all that they were told.
//! Some are cut off now and then for longer than their session lives, and go on in the belief that
//! they hold the lock.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use stanchion_client::{
    Client, Options, Session, SessionOptions, new_request_id,
    proto::{
        AcquireLockRequest, GetConfigRequest, Guard, LockMode, LockPermits, PutConfigRequest,
        ReleaseLockRequest, acquire_lock_request::Wait, config_service_client::ConfigServiceClient,
        lock_service_client::LockServiceClient, release_lock_request::Claim,
    },
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::{
    asking::{Answer, ask},
    sessions::TTL,
};
use crate::{
    harness::{Proxy, World},
    lock_history::{Event, Outcome},
};

/// Where the counters are: one for each lock.
pub const COUNTERS: &str = "counted/";
/// How many locks there are.
const LOCKS: usize = 8;
/// How many clients are cut off now and then.
const PAUSING: usize = 4;
/// How many turns such a client takes before it is.
const UNTIL_PAUSE: usize = 12;
/// How many permits a lock has that is about some.
const PERMITS: i32 = 3;
/// How often a holder counts before it lets go.
const INCREMENTS: usize = 3;
/// After how many turns a client tries to count with a token that is gone.
const UNTIL_STALE: usize = 3;
/// How long a client waits in a queue.
const WAIT: Duration = Duration::from_secs(2);
/// How long it waits for an answer.
const ANSWER: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(20);

/// All of them, busy until they are stopped.
pub struct Holders {
    told: Arc<Mutex<Vec<Event>>>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

/// One of them.
struct Holder {
    number: usize,
    lock: String,
    client: Client,
    channels: Vec<Channel>,
    told: Arc<Mutex<Vec<Event>>>,
    operations: Arc<AtomicU64>,
    /// Links of its own, if it is cut off now and then.
    links: Vec<Proxy>,
    /// A claim of which it does not know that it is gone: it would wait behind itself.
    left: Mutex<Option<ReleaseLockRequest>>,
}

// === impl Holders ===

impl Holders {
    /// Starts so many of them, spread over the locks and the replicas.
    pub async fn start(world: &World, count: usize) -> Self {
        let told = Arc::<Mutex<Vec<Event>>>::default();
        let operations = Arc::<AtomicU64>::default();
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        for number in 0..count {
            let mut endpoints = world.fronts();
            let mut links = Vec::new();
            if number < PAUSING {
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
                lock: format!("lock-{}", number % LOCKS),
                channels,
                client,
                told: told.clone(),
                operations: operations.clone(),
                links,
                left: Mutex::default(),
            };
            tasks.spawn(holder.run(stop.clone()));
        }
        Self { told, stop, tasks }
    }

    /// Waits until clients were told so much.
    pub async fn reach(&self, operations: usize, within: Duration) {
        let deadline = Instant::now() + within;
        while self.told.lock().unwrap().len() < operations {
            assert!(
                Instant::now() < deadline,
                "only {} operations",
                self.told.lock().unwrap().len()
            );
            sleep(PAUSE).await;
        }
    }

    /// Waits until each lock was granted once more.
    pub async fn all_go_on(&self, within: Duration) {
        let before = self.told.lock().unwrap().len();
        let deadline = Instant::now() + within;
        loop {
            let granted: BTreeSet<String> = self.told.lock().unwrap()[before..]
                .iter()
                .filter_map(|event| match event {
                    Event::Granted { lock, .. } => Some(lock.clone()),
                    _ => None,
                })
                .collect();
            if granted.len() == LOCKS {
                return;
            }
            assert!(Instant::now() < deadline, "only {granted:?} go on");
            sleep(PAUSE).await;
        }
    }

    /// Lets each end its turn; returns what they were told.
    pub async fn stop(mut self) -> Vec<Event> {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        std::mem::take(&mut *self.told.lock().unwrap())
    }
}

// === impl Holder ===

impl Holder {
    async fn run(self, stop: CancellationToken) {
        for turn in 1.. {
            if stop.is_cancelled() {
                return;
            }
            if self.turn(turn).await.is_none() {
                sleep(PAUSE).await;
            }
        }
    }

    /// One turn under the lock, if it gets there.
    async fn turn(&self, turn: usize) -> Option<()> {
        if let Some(left) = self.left() {
            self.release(left).await?;
        }
        let session = self.client.session().await.ok()?;
        let token = self.acquire(&session, turn).await?;
        if !self.links.is_empty() && turn.is_multiple_of(UNTIL_PAUSE) {
            self.links.iter().for_each(Proxy::black_hole);
            sleep(TTL + Duration::from_secs(2)).await;
            self.links.iter().for_each(Proxy::heal);
        }
        let mut seen = None;
        for _ in 0..INCREMENTS {
            seen = self.increment(token, false, seen).await;
        }
        let by_token = Claim::FencingToken(token);
        self.release(self.claimed(&session, by_token)).await?;
        self.tell(Event::Released {
            client: self.number,
            lock: self.lock.clone(),
            token,
        });
        if turn.is_multiple_of(UNTIL_STALE) {
            self.increment(token, true, None).await;
        }
        Some(())
    }

    async fn acquire(&self, session: &Session, turn: usize) -> Option<i64> {
        let (mode, permits) = self.mode(turn);
        let request = AcquireLockRequest {
            mode: mode.into(),
            permits,
            lock: self.lock.clone(),
            session_id: session.id().into(),
            request_id: new_request_id(),
            wait: Some(Wait::WaitTimeout(WAIT.try_into().unwrap())),
            ..Default::default()
        };
        let call = |channel: Channel| {
            let request = request.clone();
            async move { LockServiceClient::new(channel).acquire_lock(request).await }
        };
        let granted = match ask(&self.channels, WAIT + ANSWER, call).await {
            Answer::Said { answer, .. } => answer,
            Answer::Refused { .. } => return None,
            Answer::Unknown => {
                let by_request = Claim::RequestId(request.request_id);
                *self.left.lock().unwrap() = Some(self.claimed(session, by_request));
                return None;
            }
        };
        self.tell(Event::Granted {
            client: self.number,
            lock: self.lock.clone(),
            token: granted.fencing_token,
            revision: granted.header.unwrap().revision,
        });
        Some(granted.fencing_token)
    }

    /// How it claims the lock: two locks of four are for one alone, one is for readers too, and one
    /// has permits.
    fn mode(&self, turn: usize) -> (LockMode, Option<LockPermits>) {
        let odd = (self.number / LOCKS + turn) % 2;
        match (self.number % 4, odd) {
            (2, 1) => (LockMode::Shared, None),
            (3, odd) => {
                let permits = LockPermits {
                    count: if odd == 1 { 2 } else { 1 },
                    total: PERMITS,
                };
                (LockMode::Permits, Some(permits))
            }
            _ => (LockMode::Exclusive, None),
        }
    }

    fn left(&self) -> Option<ReleaseLockRequest> {
        self.left.lock().unwrap().clone()
    }

    fn claimed(&self, session: &Session, claim: Claim) -> ReleaseLockRequest {
        ReleaseLockRequest {
            lock: self.lock.clone(),
            session_id: session.id().into(),
            claim: Some(claim),
            ..Default::default()
        }
    }

    /// Gives a claim up, now or before the next turn.
    async fn release(&self, claimed: ReleaseLockRequest) -> Option<()> {
        *self.left.lock().unwrap() = Some(claimed.clone());
        let call = |channel: Channel| {
            let request = claimed.clone();
            async move { LockServiceClient::new(channel).release_lock(request).await }
        };
        match ask(&self.channels, ANSWER, call).await {
            // Gone it is, whoever removed it; what is not ours is gone too.
            Answer::Said { .. } | Answer::Refused { .. } => {
                *self.left.lock().unwrap() = None;
                Some(())
            }
            Answer::Unknown => None,
        }
    }

    /// Counts one more than what was `seen`, or is there, under the token.
    async fn increment(
        &self,
        token: i64,
        stale: bool,
        seen: Option<(i64, i64)>,
    ) -> Option<(i64, i64)> {
        let (version, count) = match seen {
            Some(seen) => seen,
            None => self.look().await?,
        };
        let operation = self.operations.fetch_add(1, Ordering::Relaxed);
        let request = PutConfigRequest {
            key: format!("{COUNTERS}{}", self.lock),
            content: format!("{} {token} {operation}", count + 1).into(),
            expected_version: Some(version),
            request_id: new_request_id(),
            guard: Some(Guard {
                lock: self.lock.clone(),
                fencing_token: token,
                ..Default::default()
            }),
            ..Default::default()
        };
        let call = |channel: Channel| {
            let request = request.clone();
            async move { ConfigServiceClient::new(channel).put_config(request).await }
        };
        let outcome = match ask(&self.channels, ANSWER, call).await {
            Answer::Said { answer, .. } => Outcome::Accepted(answer.config.unwrap().version),
            Answer::Refused { after: false } => Outcome::Refused,
            Answer::Refused { after: true } | Answer::Unknown => Outcome::Unknown,
        };
        self.tell(Event::Increment {
            client: self.number,
            lock: self.lock.clone(),
            token,
            operation,
            stale,
            outcome,
        });
        match outcome {
            Outcome::Accepted(version) => Some((version, count + 1)),
            Outcome::Refused | Outcome::Unknown => None,
        }
    }

    /// The version and the count of the counter.
    async fn look(&self) -> Option<(i64, i64)> {
        let request = GetConfigRequest {
            key: format!("{COUNTERS}{}", self.lock),
            ..Default::default()
        };
        let call = |channel: Channel| {
            let request = request.clone();
            async move { ConfigServiceClient::new(channel).get_config(request).await }
        };
        match ask(&self.channels, ANSWER, call).await {
            Answer::Said { answer, .. } => {
                let config = answer.config.unwrap();
                let content = String::from_utf8(config.content.to_vec()).unwrap();
                let count = content.split(' ').next()?.parse().ok()?;
                Some((config.version, count))
            }
            Answer::Refused { .. } => Some((0, 0)),
            Answer::Unknown => None,
        }
    }

    fn tell(&self, event: Event) {
        self.told.lock().unwrap().push(event);
    }
}
