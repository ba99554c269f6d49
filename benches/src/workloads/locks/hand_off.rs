//! A lock for which many wait: how fast it goes from one to the next.
//!
//! All wait before the first one lets go, so that only hand-offs are measured. That is repeated.

use prost::Message as _;
use stanchion_client::proto::{GetLockRequest, GetLockResponse};
use tokio::time::{Duration, sleep};

use super::{WRITES_EACH, acquire, open_session, recipe::Recipe, release, sample};
use crate::{
    BenchError,
    http2::{Connection, Event, Windows},
    meter::{Meter, Usage},
    sample::{Goal, RATE, Sample},
    target::{Site, Target},
    workloads::{
        busy::call,
        instances::{unary, undecodable},
    },
};

const LOCK: &str = "wanted";

const GET_LOCK: &str = "/stanchion.v1.LockService/GetLock";

/// How often it is looked whether all wait.
const POLL: Duration = Duration::from_millis(5);

/// What a run of the workload is like.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// How many wait, each with a session of its own.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=900))]
    waiters: u32,
    /// How often all of them have the lock once.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=1000))]
    turns: u32,
}

/// What is wanted of it: a hand-off costs the store what lets go, and nothing else.
pub(crate) const GOALS: &[Goal] = &[
    Goal::against(Target::Etcd, RATE, 2.5, 1.5),
    // A hand-off less than releases: the first one lets go, too.
    Goal::at_most(WRITES_EACH, 1.02, 1.05),
];

/// Those who want the lock of a server of ours.
struct Queue<'a> {
    site: &'a Site,
    connection: Connection,
    sessions: Vec<String>,
}

/// Measures one target.
pub(crate) async fn measure(site: &Site, options: &Options) -> Result<Sample, BenchError> {
    let mut used: Option<Usage> = None;
    let mut add = |usage: Usage| used = Some(used.map_or(usage, |before| before.and(usage)));
    if site.target() == Target::Etcd {
        let arguments = [
            format!("-waiters={}", options.waiters),
            "hand-off".to_owned(),
        ];
        let mut recipe = Recipe::start(site, &arguments)?;
        recipe.measure(site).await?;
        for _ in 0..options.turns {
            add(recipe.measure(site).await?.0);
        }
    } else {
        let mut queue = Queue::open(site, options.waiters).await?;
        queue.turn().await?;
        for _ in 0..options.turns {
            add(queue.turn().await?);
        }
    }
    used.map(sample)
        .ok_or_else(|| BenchError::failed("nothing was measured"))
}

// === impl Queue ===

impl<'a> Queue<'a> {
    async fn open(site: &'a Site, waiters: u32) -> Result<Self, BenchError> {
        let mut connection = Connection::open(site.port(), Windows::Large).await?;
        let mut sessions = Vec::new();
        for _ in 0..=waiters {
            sessions.push(open_session(&mut connection).await?);
        }
        Ok(Self {
            site,
            connection,
            sessions,
        })
    }

    /// Lets each have the lock once, and measures from when the first one lets go.
    async fn turn(&mut self) -> Result<Usage, BenchError> {
        let first = &self.sessions[0];
        let held = call(&mut self.connection, &acquire(LOCK, first)).await?;
        let let_go = release(LOCK, first, &held)?;
        let mut waiting = Vec::new();
        for session in &self.sessions[1..] {
            let stream = self.connection.start(&acquire(LOCK, session));
            waiting.push((stream, session.as_str()));
        }
        self.connection.flush().await?;
        self.until_queued().await?;

        let meter = Meter::start(self.site).await?;
        let mut open = 1 + 2 * waiting.len();
        self.connection.start(&let_go);
        while open > 0 {
            let mut granted = Vec::new();
            self.connection
                .exchange(|event| match event {
                    Event::Message { stream, message } => {
                        if let Some((_, session)) = waiting.iter().find(|(of, _)| *of == stream) {
                            granted.push(release(LOCK, session, message));
                        }
                    }
                    Event::End { .. } => open -= 1,
                })
                .await?;
            for release in granted {
                self.connection.start(&release?);
            }
        }
        let hand_offs = waiting.len() as u64;
        meter.stop(|| hand_offs).await
    }

    /// Waits until all but the holder wait. Asks over another connection: this one has nobody who
    /// reads the answers to those who wait.
    async fn until_queued(&self) -> Result<(), BenchError> {
        let mut connection = Connection::open(self.site.port(), Windows::Large).await?;
        let get = GetLockRequest {
            lock: LOCK.to_owned(),
            ..GetLockRequest::default()
        };
        let get = unary(GET_LOCK, &get);
        loop {
            let answer = call(&mut connection, &get).await?;
            let answer = GetLockResponse::decode(answer).map_err(undecodable)?;
            let waiters = answer.lock.map_or(0, |lock| lock.waiter_count);
            if waiters as usize + 1 == self.sessions.len() {
                return Ok(());
            }
            sleep(POLL).await;
        }
    }
}
