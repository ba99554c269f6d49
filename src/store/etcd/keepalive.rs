//! Renewals: all leases share a few streams to etcd.
//!
//! A lease always uses the same stream, so that two renewals of it cannot overtake each other.
//! etcd answers a stream's renewals one after the other, and one of an expired lease only once its
//! keys are gone: a stream that falls silent is given up and everything unanswered is sent again,
//! elsewhere, the one it hung on last. An answer counts once it is known that its leader leads
//! (`leadership`).

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use etcd_client::proto::PbLeaseKeepAliveResponse;
use http::uri::PathAndQuery;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Streaming, client::Grpc};
use tonic_prost::ProstCodec;

use super::{
    answer::{Answer, Verdict},
    error::{self, unavailable},
    leadership::Leadership,
    member::Member,
    pool::{Backoff, Pool, Prefer, blame},
};
use crate::{
    clock::Clock,
    store::{Error, LeaseId, Outcome, Renewal},
};

/// How many renewals of one stream may be unanswered at a time.
const MAX_IN_FLIGHT: usize = 64;

/// How many renewals may wait to be taken up by a stream's task.
const MAX_QUEUED: usize = 1024;

/// The renewal streams.
pub(super) struct Renewals {
    shards: Vec<Handle>,
    timeout: Duration,
}

struct Handle {
    renew: mpsc::Sender<Renew>,
    last_error: Arc<Mutex<Option<Error>>>,
}

/// One caller's wish.
struct Renew {
    id: LeaseId,
    answer: oneshot::Sender<Result<Renewal, Error>>,
}

/// The task behind one stream.
struct Shard {
    pool: Arc<Pool>,
    clock: Arc<dyn Clock>,
    leadership: Leadership,
    renew: mpsc::Receiver<Renew>,
    last_error: Arc<Mutex<Option<Error>>>,
    /// Every lease that somebody waits for, or that was sent on the open stream: an answer must
    /// never be taken for that to a later renewal.
    leases: HashMap<LeaseId, Waiting>,
    /// Those of them that are to be sent.
    queue: VecDeque<LeaseId>,
    /// Those of them that were sent, in order.
    in_flight: VecDeque<LeaseId>,
    /// Those of them that were answered, in order, by a leader that may be deposed.
    held: VecDeque<Answer>,
}

struct Waiting {
    sent: Option<std::time::Instant>,
    callers: Vec<oneshot::Sender<Result<Renewal, Error>>>,
}

/// `etcdserverpb.LeaseKeepAliveRequest`, which the client library keeps to itself.
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct KeepAliveRequest {
    #[prost(int64, tag = "1")]
    id: LeaseId,
}

// === impl Renewals ===

impl Renewals {
    /// Starts the tasks, which open their streams with their first renewal.
    pub(super) fn spawn(
        pool: &Arc<Pool>,
        clock: &Arc<dyn Clock>,
        stop: &CancellationToken,
    ) -> Self {
        let leadership = Leadership::spawn(pool, clock, stop);
        let shards = (0..pool.settings.renewal_streams.max(1)).map(|_| {
            let (renew, receiver) = mpsc::channel(MAX_QUEUED);
            let last_error = Arc::default();
            let shard = Shard {
                pool: Arc::clone(pool),
                clock: Arc::clone(clock),
                leadership: leadership.clone(),
                renew: receiver,
                last_error: Arc::clone(&last_error),
                leases: HashMap::new(),
                queue: VecDeque::new(),
                in_flight: VecDeque::new(),
                held: VecDeque::new(),
            };
            tokio::spawn(stop.clone().run_until_cancelled_owned(shard.run()));
            Handle { renew, last_error }
        });
        Self {
            shards: shards.collect(),
            timeout: 2 * pool.settings.renewal_silence,
        }
    }

    /// Renews a lease; callers that come while its renewal is under way share it.
    #[tracing::instrument(
        name = "etcd.lease.keep_alive",
        level = "debug",
        skip_all,
        err(level = "debug")
    )]
    pub(super) async fn renew(&self, id: LeaseId) -> Result<Renewal, Error> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(id);
        let count = self.shards.len() as u64;
        let shard = &self.shards[usize::try_from(hash % count).unwrap_or(0)];
        let deadline = Instant::now() + self.timeout;
        let (answer, receiver) = oneshot::channel();
        let stopped = || unavailable("the store is closed", Outcome::Unknown);
        let renewal = async {
            let renew = Renew { id, answer };
            shard.renew.send(renew).await.map_err(|_| stopped())?;
            receiver.await.unwrap_or_else(|_| Err(stopped()))
        };
        match timeout_at(deadline, renewal).await {
            Ok(result) => result,
            Err(_) => Err(shard.last_error().unwrap_or(Error::Timeout {
                outcome: Outcome::Unknown,
            })),
        }
    }
}

// === impl Handle ===

impl Handle {
    fn last_error(&self) -> Option<Error> {
        self.last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

// === impl Shard ===

impl Shard {
    async fn run(mut self) {
        let mut backoff = Backoff::new(&self.pool.settings);
        let mut failed: Option<Arc<Member>> = None;
        let mut refused = false;
        loop {
            while self.queue.is_empty() {
                let Some(renew) = self.renew.recv().await else {
                    return;
                };
                self.take(renew);
            }
            let Some(member) = self.pool.pick(&Prefer::Leader, failed.as_ref()) else {
                return;
            };
            let (error, answered) = match self.open(&member).await {
                Ok((requests, mut answers)) => {
                    let mut answered = false;
                    match self
                        .serve(&member, requests, &mut answers, &mut answered)
                        .await
                    {
                        Some(error) => (error, answered),
                        None => return,
                    }
                }
                Err(error) => (error, false),
            };
            tracing::debug!(endpoint = member.endpoint, %error, "a renewal stream broke");
            blame(&member, &error);
            if answered {
                backoff.reset();
                refused = false;
            }
            // A token may end under an open stream: the next one there has a new token.
            let denied = matches!(error, Error::Denied(_));
            let again = error.is_transient() || denied && !refused;
            refused = denied;
            self.broke(error, again);
            failed = (!denied).then_some(member);
            backoff.pause().await;
        }
    }

    fn take(&mut self, renew: Renew) {
        let id = renew.id;
        let waiting = self.leases.entry(id).or_insert_with(|| {
            self.queue.push_back(id);
            Waiting {
                sent: None,
                callers: Vec::new(),
            }
        });
        waiting.callers.push(renew.answer);
    }

    /// Opens a stream. etcd answers the opening together with the first renewal, so some are sent
    /// along.
    async fn open(
        &mut self,
        member: &Member,
    ) -> Result<
        (
            mpsc::Sender<KeepAliveRequest>,
            Streaming<PbLeaseKeepAliveResponse>,
        ),
        Error,
    > {
        let (requests, receiver) = mpsc::channel(MAX_IN_FLIGHT);
        self.send(&requests);
        let mut request = Request::new(ReceiverStream::new(receiver));
        request.metadata_mut().insert(
            "hasleader",
            tonic::metadata::MetadataValue::from_static("true"),
        );
        let mut grpc = Grpc::new(member.lease_channel.clone());
        let opening = async {
            grpc.ready()
                .await
                .map_err(|error| unavailable(error::describe(&*error), Outcome::NotDone))?;
            let path = PathAndQuery::from_static("/etcdserverpb.Lease/LeaseKeepAlive");
            let codec = ProstCodec::<KeepAliveRequest, PbLeaseKeepAliveResponse>::default();
            grpc.streaming(request, path, codec)
                .await
                .map_err(|status| error::from_status(&status))
        };
        let response = timeout(self.pool.settings.renewal_silence, opening)
            .await
            .map_err(|_| silence())??;
        Ok((requests, response.into_inner()))
    }

    /// Renews over an open stream until that breaks; `None` when nobody can ask any more.
    async fn serve(
        &mut self,
        member: &Member,
        requests: mpsc::Sender<KeepAliveRequest>,
        answers: &mut Streaming<PbLeaseKeepAliveResponse>,
        answered: &mut bool,
    ) -> Option<Error> {
        let allowed = self.pool.settings.renewal_silence;
        let mut deadline = Instant::now() + allowed;
        loop {
            if self.in_flight.is_empty() {
                deadline = Instant::now() + allowed;
            }
            self.send(&requests);
            let held_until = self.held.front().map_or(deadline, |answer| answer.until);
            tokio::select! {
                renew = self.renew.recv() => self.take(renew?),
                answer = answers.message() => match answer {
                    Ok(Some(answer)) => {
                        *answered = true;
                        deadline = Instant::now() + allowed;
                        self.hold(Answer::new(&answer));
                    }
                    Ok(None) => return Some(unavailable("etcd ended the stream", Outcome::Unknown)),
                    Err(status) => return Some(error::from_status(&status)),
                },
                () = self.leadership.proven() => {}
                () = sleep_until(held_until), if !self.held.is_empty() => {}
                () = member.left.cancelled() => {
                    return Some(unavailable("the member is not used any more", Outcome::Unknown));
                }
                () = sleep_until(deadline), if !self.in_flight.is_empty() => {
                    return Some(silence());
                }
            }
            if let Err(error) = self.settle() {
                return Some(error);
            }
        }
    }

    /// Sends what is queued, as far as the stream may have it unanswered.
    fn send(&mut self, requests: &mpsc::Sender<KeepAliveRequest>) {
        while self.in_flight.len() < MAX_IN_FLIGHT
            && let Some(&id) = self.queue.front()
        {
            // Noted before it is sent, so that the lease cannot end earlier than we think.
            let sent = self.clock.now();
            if requests.try_send(KeepAliveRequest { id }).is_err() {
                return;
            }
            self.queue.pop_front();
            self.in_flight.push_back(id);
            if let Some(waiting) = self.leases.get_mut(&id) {
                waiting.sent = Some(sent);
            }
            self.leadership.prove();
        }
    }

    fn hold(&mut self, answer: Answer) {
        let in_flight = self.in_flight.len();
        self.in_flight.retain(|id| *id != answer.id);
        if self.in_flight.len() < in_flight {
            self.held.push_back(answer);
        }
    }

    /// Passes on the answers that hold; an error when one came from a leader that may be none.
    fn settle(&mut self) -> Result<(), Error> {
        for _ in 0..self.held.len() {
            let Some(answer) = self.held.pop_front() else {
                break;
            };
            let Some(sent) = self.leases.get(&answer.id).and_then(|lease| lease.sent) else {
                continue;
            };
            match answer.verdict(&self.leadership, &*self.clock, sent) {
                Verdict::Open => self.held.push_back(answer),
                Verdict::Holds(result) => self.pass_on(answer.id, &result),
                Verdict::Void(error) => {
                    self.held.push_back(answer);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn pass_on(&mut self, id: LeaseId, result: &Result<Renewal, Error>) {
        let Some(waiting) = self.leases.remove(&id) else {
            return;
        };
        *self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
        for caller in waiting.callers {
            // A caller that gave up needs no answer.
            let _ = caller.send(result.clone());
        }
    }

    /// Queues again what the broken stream left unanswered, unless nobody waits any more or trying
    /// `again` cannot help.
    fn broke(&mut self, error: Error, again: bool) {
        let mut unanswered = std::mem::take(&mut self.in_flight);
        if !unanswered.is_empty() {
            unanswered.rotate_left(1);
        }
        self.queue.extend(unanswered);
        self.queue
            .extend(self.held.drain(..).map(|answer| answer.id));
        for waiting in self.leases.values_mut() {
            waiting.sent = None;
            if !again {
                for caller in waiting.callers.drain(..) {
                    let _ = caller.send(Err(error.clone()));
                }
            }
            waiting.callers.retain(|caller| !caller.is_closed());
        }
        self.leases.retain(|_, waiting| !waiting.callers.is_empty());
        self.queue.retain(|id| self.leases.contains_key(id));
        *self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

fn silence() -> Error {
    Error::Timeout {
        outcome: Outcome::Unknown,
    }
}
