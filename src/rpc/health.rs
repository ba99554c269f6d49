//! `grpc.health.v1`: what serves, for load balancers.
//!
//! `""`, each service's name and `<service>/read` are SERVING while the cache serves;
//! `<service>/write` follows the store. All are NOT_SERVING while draining. That the store is away
//! never makes a replica look dead: cached reads go on.

use std::{pin::Pin, time::Duration};

use futures_util::{Stream, stream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, async_trait};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_server::Health,
};

use super::{Context, SERVICES};

/// How often the state is looked at for those who watch it.
const INTERVAL: Duration = Duration::from_millis(200);

/// The handler of `grpc.health.v1.Health`.
#[derive(Clone)]
pub struct HealthHandler {
    context: Context,
    drain: CancellationToken,
    /// What was seen last, for those who watch.
    seen: watch::Sender<Serving>,
}

/// What serves now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Serving {
    reads: bool,
    writes: bool,
    draining: bool,
}

/// What a name in a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Topic {
    Reads,
    Writes,
    Unknown,
}

/// One who watches.
struct Watcher {
    topic: Topic,
    serving: watch::Receiver<Serving>,
    told: Option<ServingStatus>,
    ended: bool,
}

// === impl HealthHandler ===

impl HealthHandler {
    /// A handler that says NOT_SERVING and lets watchers go once `drain` is cancelled.
    pub fn new(context: Context, drain: CancellationToken) -> Self {
        let handler = Self {
            context,
            drain,
            seen: watch::Sender::new(Serving {
                reads: false,
                writes: false,
                draining: false,
            }),
        };
        handler.seen.send_replace(handler.look());
        handler
    }

    /// Tells those who watch of every change, until the replica drains.
    pub async fn run(self) {
        loop {
            let serving = self.look();
            self.seen
                .send_if_modified(|seen| std::mem::replace(seen, serving) != serving);
            if serving.draining {
                return;
            }
            let clock = &self.context.core.clock;
            self.drain.run_until_cancelled(clock.sleep(INTERVAL)).await;
        }
    }

    fn look(&self) -> Serving {
        let draining = self.drain.is_cancelled();
        let view = self.context.core.cache.view();
        let fresh = |age| age < self.context.settings.store_silence;
        Serving {
            reads: view.is_ok() && !draining,
            writes: view.is_ok_and(|view| fresh(view.age)) && !draining,
            draining,
        }
    }
}

#[async_trait]
impl Health for HealthHandler {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        match Topic::of(&service) {
            // What the protocol of health checks says; none of our reasons fits.
            Topic::Unknown => Err(Status::not_found(format!("{service:?} is not served"))),
            topic => Ok(Response::new(topic.answer(self.look()))),
        }
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let watcher = Watcher {
            topic: Topic::of(&request.into_inner().service),
            serving: self.seen.subscribe(),
            told: None,
            ended: false,
        };
        Ok(Response::new(Box::pin(stream::unfold(
            watcher,
            |mut watcher| async move {
                let answer = watcher.next().await?;
                Some((Ok(answer), watcher))
            },
        ))))
    }
}

// === impl Watcher ===

impl Watcher {
    async fn next(&mut self) -> Option<HealthCheckResponse> {
        loop {
            if self.ended {
                return None;
            }
            let serving = *self.serving.borrow_and_update();
            self.ended = serving.draining;
            let status = self.topic.status(serving);
            if self.told.replace(status) != Some(status) {
                return Some(self.topic.answer(serving));
            }
            if !self.ended {
                self.serving.changed().await.ok()?;
            }
        }
    }
}

// === impl Topic ===

impl Topic {
    fn of(service: &str) -> Self {
        let (name, topic) = match service.rsplit_once('/') {
            Some((name, "read")) => (name, Self::Reads),
            Some((name, "write")) => (name, Self::Writes),
            _ => (service, Self::Reads),
        };
        if service.is_empty() || SERVICES.contains(&name) {
            topic
        } else {
            Self::Unknown
        }
    }

    fn status(self, serving: Serving) -> ServingStatus {
        let yes = match self {
            Self::Reads => serving.reads,
            Self::Writes => serving.writes,
            Self::Unknown => return ServingStatus::ServiceUnknown,
        };
        if yes {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        }
    }

    fn answer(self, serving: Serving) -> HealthCheckResponse {
        HealthCheckResponse {
            status: self.status(serving).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_can_be_asked_about_reads_and_writes() {
        assert_eq!(Topic::of(""), Topic::Reads);
        for service in SERVICES {
            assert_eq!(Topic::of(service), Topic::Reads);
            assert_eq!(Topic::of(&format!("{service}/read")), Topic::Reads);
            assert_eq!(Topic::of(&format!("{service}/write")), Topic::Writes);
        }
        for nobody in ["/write", "x", "stanchion.v1.LockService/", "x/read"] {
            assert_eq!(Topic::of(nobody), Topic::Unknown, "{nobody}");
        }
    }
}
