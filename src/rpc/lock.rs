//! `LockService`: locks, their holders and those who wait.

mod delay;
mod encode;
mod hold;
mod oversight;
mod together;

use std::sync::Arc;

use bytes::Bytes;
use stanchion_client::proto::{
    self, AcquireLockRequest, AcquireLockResponse, AcquireLocksRequest, AcquireLocksResponse,
    CheckFencingTokenRequest, CheckFencingTokenResponse, FindDeadlocksRequest,
    FindDeadlocksResponse, ForceReleaseLockRequest, ForceReleaseLockResponse, GetLockRequest,
    GetLockResponse, HoldLockRequest, HoldLockResponse, ListLocksRequest, ListLocksResponse,
    ReleaseLockRequest, ReleaseLockResponse, RequestYieldRequest, RequestYieldResponse,
    WatchLockRequest, WatchLockResponse, acquire_lock_request, release_lock_request,
};
use tonic::{Request, Response, Status, async_trait};

use crate::{
    domain::{
        Error,
        keyspace::{QueueKind, QueuePath},
        lock::{
            Acquire, Claim, ClaimsOf, HeldLocks, LISTED_HOLDERS, LockMode, LockQueue, Locks,
            Permits, Release, Which,
        },
        names::{MAX_NAME, QueueName},
    },
    proto::server::lock_service_server::LockService,
    rpc::{
        Context, Peer,
        convert::{Violations, caller, wait, wire_count},
        hold::HoldStream,
        page, status,
        watch::{self, WatchStream, watch_response},
    },
};

use self::encode::claim;
pub(super) use self::encode::yield_request;

/// The most entries of a claim's metadata.
pub(super) const MAX_METADATA: usize = 64;
/// The most bytes of a claim's metadata.
pub(super) const MAX_METADATA_BYTES: usize = 4096;

watch_response!(WatchLockResponse in watch_lock_response, LockSnapshot { claims }, LockDelta, LockEvent { claim: proto::LockClaim });

/// The handler of `LockService`.
pub struct LockHandler {
    context: Context,
    locks: Locks,
}

// === impl LockHandler ===

impl LockHandler {
    /// A handler over one replica.
    pub fn new(context: Context) -> Self {
        Self {
            locks: context.locks.clone(),
            context,
        }
    }
}

#[async_trait]
impl LockService for LockHandler {
    type WatchLockStream = WatchStream<WatchLockResponse>;
    type HoldLockStream = HoldStream<HoldLockResponse>;

    async fn acquire_lock(
        &self,
        request: Request<AcquireLockRequest>,
    ) -> Result<Response<AcquireLockResponse>, Status> {
        let address = Peer::of(&request).map(|peer| peer.address.to_string());
        let acquire = acquire(request.into_inner(), address.unwrap_or_default())?;
        let granted = self.locks.acquire(acquire).await.map_err(status::of)?;
        Ok(Response::new(AcquireLockResponse {
            header: Some(self.context.header.at(granted.revision)),
            fencing_token: granted.claim.waiter.fencing_token(),
            claim: Some(claim(&granted.claim)),
        }))
    }

    async fn hold_lock(
        &self,
        request: Request<HoldLockRequest>,
    ) -> Result<Response<Self::HoldLockStream>, Status> {
        hold::answer(self, request).await
    }

    async fn acquire_locks(
        &self,
        request: Request<AcquireLocksRequest>,
    ) -> Result<Response<AcquireLocksResponse>, Status> {
        let address = Peer::of(&request).map(|peer| peer.address.to_string());
        together::acquire(self, request.into_inner(), address.unwrap_or_default()).await
    }

    async fn release_lock(
        &self,
        request: Request<ReleaseLockRequest>,
    ) -> Result<Response<ReleaseLockResponse>, Status> {
        let release = release(request.into_inner())?;
        let released = self.locks.release(release).await.map_err(status::of)?;
        Ok(Response::new(ReleaseLockResponse {
            header: Some(self.context.header.at(released.revision)),
            released: released.released,
        }))
    }

    async fn get_lock(
        &self,
        request: Request<GetLockRequest>,
    ) -> Result<Response<GetLockResponse>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::new();
        let path = path(&mut violations, &request.namespace, &request.lock);
        let freshness = violations.freshness(request.consistency, request.min_revision);
        let path = violations.give(path)?;
        let core = &self.context.core;
        let read = core.read(freshness).await;
        let view = read.map_err(|error| status::of(error.into()))?;
        let lock = match view.state.queue(&path) {
            Some(queue) => self.whole_lock(queue, view.state.epoch.claims_from),
            None => proto::Lock {
                namespace: path.namespace.to_string(),
                lock: path.name.to_string(),
                ..Default::default()
            },
        };
        let token = core.cache.token(&view, &ClaimsOf { lock: path });
        Ok(Response::new(GetLockResponse {
            header: Some(self.context.header.of(&view)),
            lock: Some(lock),
            resume_token: token.encode().into(),
        }))
    }

    async fn list_locks(
        &self,
        request: Request<ListLocksRequest>,
    ) -> Result<Response<ListLocksResponse>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::new();
        let namespace = violations.namespace(&request.namespace);
        let prefix = violations.text("prefix", request.prefix, MAX_NAME);
        let size = violations.page_size(request.page_size);
        let freshness = violations.freshness(request.consistency, request.min_revision);
        let selection = HeldLocks {
            kind: QueueKind::Lock,
            namespace: violations.give(namespace)?,
            prefix,
        };
        let read = self.context.core.read(freshness).await;
        let view = read.map_err(|error| status::of(error.into()))?;
        let (locks, next_page_token) = page::of(&view, &selection, &request.page_token, size)?;
        let claims_from = view.state.epoch.claims_from;
        let locks = locks.iter().map(|queue| self.lock(queue, claims_from));
        Ok(Response::new(ListLocksResponse {
            header: Some(self.context.header.of(&view)),
            locks: locks.collect(),
            next_page_token,
        }))
    }

    async fn watch_lock(
        &self,
        request: Request<WatchLockRequest>,
    ) -> Result<Response<Self::WatchLockStream>, Status> {
        let request = request.into_inner();
        let core = &self.context.core;
        let view = core.view().await.map_err(status::of)?;
        let epoch = view.state.epoch;
        let mut violations = Violations::new();
        let path = path(&mut violations, &request.namespace, &request.lock);
        let start = violations.start(request.start, &epoch.name());
        let min_interval = violations.min_interval(request.min_interval);
        let selection = ClaimsOf {
            lock: violations.give(path)?,
        };
        let settings = &self.context.settings.watch;
        let watch = |held: &Arc<Claim>| claim(held);
        let terms = watch::Terms::new(start, min_interval);
        watch::open(core, settings, selection, terms, watch)
    }

    async fn check_fencing_token(
        &self,
        request: Request<CheckFencingTokenRequest>,
    ) -> Result<Response<CheckFencingTokenResponse>, Status> {
        oversight::check(self, request.into_inner()).await
    }

    async fn request_yield(
        &self,
        request: Request<RequestYieldRequest>,
    ) -> Result<Response<RequestYieldResponse>, Status> {
        let caller = caller(&request);
        oversight::ask(self, request.into_inner(), caller).await
    }

    async fn force_release_lock(
        &self,
        request: Request<ForceReleaseLockRequest>,
    ) -> Result<Response<ForceReleaseLockResponse>, Status> {
        let caller = caller(&request);
        oversight::force(self, request.into_inner(), caller).await
    }

    async fn find_deadlocks(
        &self,
        request: Request<FindDeadlocksRequest>,
    ) -> Result<Response<FindDeadlocksResponse>, Status> {
        oversight::deadlocks(self, request.into_inner()).await
    }
}

fn acquire(request: AcquireLockRequest, address: String) -> Result<Acquire, Status> {
    let mut violations = Violations::new();
    let lock = path(&mut violations, &request.namespace, &request.lock);
    let session = violations.session_id(&request.session_id);
    let request_id = violations.request_id(&request.request_id);
    let wait = wait!(violations, request.wait, acquire_lock_request);
    let mode = mode(&mut violations, request.mode, request.permits);
    let reentrant = reentrant(&mut violations, &request.reentrant_owner, &request_id);
    let delay = delay::parse(
        &mut violations,
        request.lock_delay,
        mode,
        reentrant.is_some(),
    );
    let owner = violations.label("owner", &request.owner);
    let metadata = violations.metadata(
        "metadata",
        request.metadata,
        MAX_METADATA,
        MAX_METADATA_BYTES,
    );
    let guard = violations.guard(request.guard, &request.namespace);
    Ok(Acquire {
        lock: violations.give(lock)?,
        // One that cannot be is as good as one that is gone.
        session: session.ok_or_else(|| status::of(Error::LeaseExpired))?,
        request_id,
        wait,
        reentrant,
        mode,
        delay,
        owner,
        metadata,
        proclamation: Bytes::new(),
        address,
        guard,
        let_go: None,
    })
}

/// An owner that may acquire the lock again; each of its requests needs a name to be counted by.
fn reentrant(violations: &mut Violations, owner: &str, request_id: &str) -> Option<String> {
    let owner = Some(violations.id("reentrant_owner", owner)).filter(|owner| !owner.is_empty());
    if owner.is_some() && request_id.is_empty() {
        violations.add("request_id", "is required with `reentrant_owner`");
    }
    owner
}

fn mode(violations: &mut Violations, mode: i32, permits: Option<proto::LockPermits>) -> LockMode {
    let mode = match proto::LockMode::try_from(mode) {
        Ok(proto::LockMode::Exclusive | proto::LockMode::Unspecified) => LockMode::Exclusive,
        Ok(proto::LockMode::Shared) => LockMode::Shared,
        Ok(proto::LockMode::Permits) => {
            let proto::LockPermits { count, total } = violations.required("permits", permits);
            let in_range = |value: i32| u32::try_from(value).ok();
            let permits = in_range(count)
                .zip(in_range(total))
                .and_then(|(count, total)| Permits::new(count, total));
            if permits.is_none() {
                let most = Permits::MAX;
                let rule = format!("must be 1 to `total`, and that at most {most}");
                violations.add("permits.count", rule);
            }
            return permits.map_or_else(LockMode::default, LockMode::Permits);
        }
        Err(_) => {
            violations.add("mode", "is not a known value");
            LockMode::default()
        }
    };
    if permits.is_some() {
        violations.add("permits", "must be left out unless the mode is PERMITS");
    }
    mode
}

fn release(request: ReleaseLockRequest) -> Result<Release, Status> {
    let mut violations = Violations::new();
    let lock = path(&mut violations, &request.namespace, &request.lock);
    let session = violations.session_id(&request.session_id);
    let reentrant = match &request.claim {
        Some(release_lock_request::Claim::RequestId(id)) => {
            reentrant(&mut violations, &request.reentrant_owner, id)
        }
        Some(release_lock_request::Claim::FencingToken(_)) => None,
        None => reentrant(&mut violations, &request.reentrant_owner, ""),
    };
    let which = match request.claim {
        None => Which::Request(String::new()),
        Some(release_lock_request::Claim::RequestId(id)) => {
            Which::Request(violations.request_id(&id))
        }
        Some(release_lock_request::Claim::FencingToken(token)) => {
            if token <= 0 {
                violations.add("fencing_token", "must be positive");
            }
            Which::Token(token)
        }
    };
    let guard = violations.guard(request.guard, &request.namespace);
    Ok(Release {
        lock: violations.give(lock)?,
        session,
        reentrant,
        which,
        guard,
    })
}

fn path(violations: &mut Violations, namespace: &str, lock: &str) -> Option<QueuePath> {
    let namespace = violations.namespace(namespace);
    let name = violations.take("lock", QueueName::parse(lock));
    Some(QueuePath {
        kind: QueueKind::Lock,
        namespace: namespace?,
        name: name?,
    })
}

// === impl LockHandler ===

impl LockHandler {
    /// A lock without its waiters, with what this replica saw of it. What was claimed in an era before
    /// `claims_from` delays nobody.
    fn lock(&self, queue: &LockQueue, claims_from: i64) -> proto::Lock {
        let holders = queue.holders().take(LISTED_HOLDERS);
        proto::Lock {
            namespace: queue.path.namespace.to_string(),
            lock: queue.path.name.to_string(),
            holder: queue.holder().map(|holder| self.holder(holder)),
            waiters: Vec::new(),
            waiter_count: wire_count(queue.waiting()),
            revision: queue.visible_revision,
            holders: holders.map(|holder| self.holder(holder)).collect(),
            holder_count: wire_count(queue.holders().count()),
            contention: self
                .locks
                .contention(&queue.path)
                .map(oversight::contention),
            delay: delay::wire(&self.locks, queue, claims_from),
        }
    }

    fn whole_lock(&self, queue: &LockQueue, claims_from: i64) -> proto::Lock {
        let waiters = queue.claims.values().filter(|claim| !claim.held);
        let holders = queue.holders();
        proto::Lock {
            waiters: waiters
                .zip(1..)
                .map(|(waiter, position)| proto::LockClaim {
                    position: wire_count(position),
                    ..claim(waiter)
                })
                .collect(),
            holders: holders.map(|holder| self.holder(holder)).collect(),
            ..self.lock(queue, claims_from)
        }
    }

    /// A claim that holds its lock, with since when as this replica saw it.
    fn holder(&self, holder: &Claim) -> proto::LockClaim {
        proto::LockClaim {
            hold_time: self.locks.held_since(holder).map(Into::into),
            ..claim(holder)
        }
    }
}
