//! Clients that change the same few configs in every way there is, and remember all that they were
//! told.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use stanchion_client::{
    new_request_id,
    proto::{
        CommitConfigsRequest, ConfigChange, ConfigPut, DeleteConfigRequest, DeleteConfigResponse,
        GetConfigRequest, PutConfigRequest, PutConfigResponse, RollbackConfigRequest,
        RollbackConfigResponse, config_change, config_service_client::ConfigServiceClient,
    },
};
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::asking::{Answer, ask};
use crate::{
    config_history::{Deed, Event, Outcome},
    harness::World,
};

/// Where the configs are.
pub const EDITED: &str = "edited/";
/// How many there are.
const KEYS: usize = 4;
/// How many changes are compare-and-swaps. In the end half of them: the second part of a commit is
/// none, nor is what would compare with nothing.
const SWAPS: f64 = 0.7;
/// How long a client waits for an answer.
const ANSWER: Duration = Duration::from_secs(3);
/// How long it waits between two changes, in milliseconds. A request is remembered under fifteen
/// later ones, and all clients must not make as many while one waits to repeat its own.
const PAUSE: std::ops::Range<u64> = 10..50;

/// All of them, busy until they are stopped.
pub struct Editors {
    told: Arc<Mutex<Vec<Event>>>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

/// One of them.
struct Editor {
    name: String,
    channels: Vec<Channel>,
    told: Arc<Mutex<Vec<Event>>>,
    operations: Arc<AtomicU64>,
    origin: Instant,
    random: StdRng,
    /// The versions it has put, by key: what it can go back to.
    put: Vec<(String, i64)>,
}

/// A change before it is known what came of it.
struct Wish {
    operation: u64,
    key: String,
    deed: Deed,
    expected: Option<i64>,
    content: Option<String>,
    begun: u64,
}

// === impl Editors ===

impl Editors {
    /// Starts so many of them, spread over the replicas.
    pub fn start(world: &World, count: usize) -> Self {
        let told = Arc::<Mutex<Vec<Event>>>::default();
        let operations = Arc::<AtomicU64>::default();
        let stop = CancellationToken::new();
        let origin = Instant::now();
        let mut tasks = JoinSet::new();
        for number in 0..count {
            let mut channels: Vec<_> = world.replicas.iter().map(|r| r.channel()).collect();
            let turn = number % channels.len();
            channels.rotate_left(turn);
            let editor = Editor {
                name: format!("editor-{number}"),
                channels,
                told: told.clone(),
                operations: operations.clone(),
                origin,
                random: StdRng::from_rng(&mut rand::rng()),
                put: Vec::new(),
            };
            tasks.spawn(editor.run(stop.clone()));
        }
        Self { told, stop, tasks }
    }

    /// The keys that are changed.
    pub fn keys() -> impl Iterator<Item = String> {
        (0..KEYS).map(|number| format!("{EDITED}{number}"))
    }

    /// Waits until so many changes were answered.
    pub async fn reach(&self, changes: usize, within: Duration) {
        let deadline = Instant::now() + within;
        while self.told.lock().unwrap().len() < changes {
            let so_far = self.told.lock().unwrap().len();
            assert!(Instant::now() < deadline, "only {so_far} changes");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Lets each end its change; returns what they were told.
    pub async fn stop(mut self) -> Vec<Event> {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        std::mem::take(&mut *self.told.lock().unwrap())
    }
}

// === impl Editor ===

impl Editor {
    async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.random.random_range(0..10) {
                0..6 => self.put().await,
                6..8 => self.commit().await,
                8 => self.roll_back().await,
                _ => self.delete().await,
            }
            let pause = self.random.random_range(PAUSE);
            sleep(Duration::from_millis(pause)).await;
        }
    }

    async fn put(&mut self) {
        let key = self.one_key();
        let wish = self.wish(key, Deed::Put).await;
        let request = PutConfigRequest {
            key: wish.key.clone(),
            content: wish.content.clone().unwrap().into(),
            expected_version: wish.expected,
            actor: self.name.clone(),
            comment: wish.operation.to_string(),
            request_id: new_request_id(),
            ..Default::default()
        };
        self.change(
            wish,
            request,
            |mut service, request| async move { service.put_config(request).await },
            |answer: PutConfigResponse| (!answer.unchanged).then(|| answer.config.unwrap().version),
        )
        .await;
    }

    async fn roll_back(&mut self) {
        let Some((key, version)) = self.one_put() else {
            return;
        };
        let wish = self.wish(key, Deed::Rollback(version)).await;
        let request = RollbackConfigRequest {
            key: wish.key.clone(),
            version,
            expected_version: wish.expected,
            actor: self.name.clone(),
            comment: wish.operation.to_string(),
            request_id: new_request_id(),
            ..Default::default()
        };
        self.change(
            wish,
            request,
            |mut service, request| async move { service.rollback_config(request).await },
            |answer: RollbackConfigResponse| {
                (!answer.unchanged).then(|| answer.config.unwrap().version)
            },
        )
        .await;
    }

    async fn delete(&mut self) {
        let key = self.one_key();
        let wish = self.wish(key, Deed::Delete).await;
        let request = DeleteConfigRequest {
            key: wish.key.clone(),
            expected_version: wish.expected,
            actor: self.name.clone(),
            comment: wish.operation.to_string(),
            request_id: new_request_id(),
            ..Default::default()
        };
        self.change(
            wish,
            request,
            |mut service, request| async move { service.delete_config(request).await },
            |answer: DeleteConfigResponse| answer.deleted.then_some(answer.version),
        )
        .await;
    }

    /// Asks for one change; `made` reads the version it made from the answer.
    async fn change<R: Clone, T, F>(
        &mut self,
        wish: Wish,
        request: R,
        call: impl Fn(ConfigServiceClient<Channel>, R) -> F,
        made: impl Fn(T) -> Option<i64>,
    ) where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let answer = self.ask(|service| call(service, request.clone())).await;
        self.tell(wish, outcome(answer, made));
    }

    /// Puts two configs at once; the first of them may have to be as it was seen.
    async fn commit(&mut self) {
        let key = self.one_key();
        let first = self.wish(key, Deed::Put).await;
        let keys: Vec<_> = Editors::keys().filter(|key| *key != first.key).collect();
        let key = keys[self.random.random_range(0..keys.len())].clone();
        let second = Wish {
            key,
            expected: None,
            content: first.content.clone(),
            ..first
        };
        let change = |wish: &Wish| ConfigChange {
            key: wish.key.clone(),
            expected_version: wish.expected,
            change: Some(config_change::Change::Put(ConfigPut {
                content: wish.content.clone().unwrap().into(),
                ..Default::default()
            })),
            ..Default::default()
        };
        let request = CommitConfigsRequest {
            changes: vec![change(&first), change(&second)],
            actor: self.name.clone(),
            comment: first.operation.to_string(),
            request_id: new_request_id(),
            ..Default::default()
        };
        let answer = self.ask(|mut service| {
            let request = request.clone();
            async move { service.commit_configs(request).await }
        });
        let answer = answer.await;
        for (place, wish) in [first, second].into_iter().enumerate() {
            let outcome = match &answer {
                Answer::Said { answer, after } if answer.committed => {
                    let result = &answer.results[place];
                    match (result.unchanged, after) {
                        (false, _) => Outcome::Made(result.version),
                        (true, false) => Outcome::Unchanged,
                        (true, true) => Outcome::Unknown,
                    }
                }
                Answer::Said { after: false, .. } | Answer::Refused { after: false } => {
                    Outcome::Refused
                }
                _ => Outcome::Unknown,
            };
            self.tell(wish, outcome);
        }
    }

    /// A change of a config, which may have to be as it is seen now.
    async fn wish(&mut self, key: String, deed: Deed) -> Wish {
        let expected = match self.random.random_bool(SWAPS) {
            true => self.look(&key).await,
            false => None,
        };
        // Only a put may want nothing to be there.
        let expected = expected.filter(|version| *version > 0 || deed == Deed::Put);
        let operation = self.operations.fetch_add(1, Ordering::Relaxed);
        let content = format!("{}.{operation}", self.name);
        Wish {
            operation,
            key,
            deed,
            expected,
            content: (deed == Deed::Put).then_some(content),
            begun: self.now(),
        }
    }

    /// The version of a config, if somebody knows.
    async fn look(&self, key: &str) -> Option<i64> {
        let request = GetConfigRequest {
            key: key.into(),
            ..Default::default()
        };
        let answer = self.ask(|mut service| {
            let request = request.clone();
            async move { service.get_config(request).await }
        });
        match answer.await {
            Answer::Said { answer, .. } => Some(answer.config.unwrap().version),
            Answer::Refused { .. } => Some(0),
            Answer::Unknown => None,
        }
    }

    fn one_key(&mut self) -> String {
        format!("{EDITED}{}", self.random.random_range(0..KEYS))
    }

    fn one_put(&mut self) -> Option<(String, i64)> {
        let last = self.put.len().checked_sub(1)?;
        Some(self.put[self.random.random_range(0..=last)].clone())
    }

    async fn ask<T, F>(&self, call: impl Fn(ConfigServiceClient<Channel>) -> F) -> Answer<T>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let call = |channel| call(ConfigServiceClient::new(channel));
        ask(&self.channels, ANSWER, call).await
    }

    fn tell(&mut self, wish: Wish, outcome: Outcome) {
        let Wish {
            operation,
            key,
            deed,
            expected,
            content,
            begun,
        } = wish;
        if let (Deed::Put, Outcome::Made(version)) = (deed, outcome) {
            self.put.push((key.clone(), version));
        }
        let event = Event::Asked {
            author: self.name.clone(),
            operation,
            key,
            deed,
            expected,
            content,
            begun,
            ended: self.now(),
            outcome,
        };
        self.told.lock().unwrap().push(event);
    }

    /// Microseconds by the clock that all of them share.
    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_micros()).unwrap()
    }
}

/// What came of one change; `made` reads the version it made from the answer.
fn outcome<T>(answer: Answer<T>, made: impl Fn(T) -> Option<i64>) -> Outcome {
    match answer {
        Answer::Said { answer, after } => match (made(answer), after) {
            (Some(version), _) => Outcome::Made(version),
            (None, false) => Outcome::Unchanged,
            // An earlier try may have changed what there is nothing left to change of.
            (None, true) => Outcome::Unknown,
        },
        Answer::Refused { after: false } => Outcome::Refused,
        Answer::Refused { after: true } | Answer::Unknown => Outcome::Unknown,
    }
}
