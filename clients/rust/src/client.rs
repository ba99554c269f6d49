//! The client: where everything begins.

use std::{sync::Arc, time::Duration};

use tonic::transport::Channel;

use crate::{
    audit::Audit,
    barrier::BarrierRequest,
    call::{Caller, request_id},
    config::Configs,
    discovery::{Discovery, DiscoveryOptions},
    drain::Drain,
    election::Election,
    endpoints::Endpoints,
    error::Result,
    latch::Latch,
    lock::{LockRequest, LocksRequest},
    operator::Operator,
    options::{Options, SessionOptions},
    pages::{self, PAGE},
    proto::{
        DeregisterInstanceRequest, DrainInstanceRequest, GetServerInfoRequest,
        GetServerInfoResponse, InstanceView, ListInstancesRequest, ListInstancesResponse,
        ListServicesRequest, ListSessionsRequest, ListSubscribersRequest, ListSubscribersResponse,
        ReleaseBrakeRequest, Service, Session as SessionInfo,
        operator_service_client::OperatorServiceClient,
        registry_service_client::RegistryServiceClient, server_service_client::ServerServiceClient,
        session_service_client::SessionServiceClient,
    },
    registration::InstanceRequest,
    session::{Session, SessionKeeper},
    watch::{Selection, Watch},
};

/// A client of a Stanchion service, over one or several endpoints. Cheap to clone.
///
/// Calls stay at one endpoint until it fails, then move on to the next. Every change carries a
/// request id, so that repeating it is safe.
#[derive(Debug, Clone)]
pub struct Client {
    namespace: Arc<str>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    caller: Arc<Caller>,
    /// The session that registrations and locks share.
    keeper: Arc<SessionKeeper>,
}

// === impl Client ===

impl Client {
    /// Makes a client of endpoints such as `http://host:7650` or `host:7650`.
    ///
    /// Returns at once; connections are made when they are needed. Must be called within a tokio
    /// runtime. Fails for what is no address.
    pub fn connect<S: AsRef<str>>(
        endpoints: impl IntoIterator<Item = S>,
        options: Options,
    ) -> Result<Self> {
        let caller = Arc::new(Caller {
            endpoints: Endpoints::new(endpoints, &options)?,
            options,
        });
        let keeper = SessionKeeper::new(caller.clone(), caller.options.session.clone());
        Ok(Self {
            namespace: caller.options.namespace.as_str().into(),
            shared: Arc::new(Shared {
                caller,
                keeper: Arc::new(keeper),
            }),
        })
    }

    /// The same client for another namespace; empty means `default`.
    pub fn with_namespace(&self, namespace: &str) -> Self {
        Self {
            namespace: namespace.into(),
            shared: self.shared.clone(),
        }
    }

    /// The namespace of requests; empty means `default`.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The session that registrations and locks of this client share, opened if there is none.
    pub async fn session(&self) -> Result<Session> {
        self.keeper().live().await
    }

    /// Opens another session. A program needs one only for a TTL that is very different.
    pub async fn open_session(&self, options: &SessionOptions) -> Result<Session> {
        Session::open(self.caller(), options).await
    }

    /// Closes the shared session: ends all registrations and locks that live by it.
    pub async fn close(&self) -> Result<()> {
        self.keeper().close().await
    }

    /// Begins to register an instance: `register("shop", "10.0.0.7").port("http", 80, "http")`.
    pub fn register(&self, service: &str, address: &str) -> InstanceRequest {
        InstanceRequest::new(self.clone(), service, address)
    }

    /// Removes an instance, whoever owns it. Answers whether there was one.
    pub async fn deregister(&self, service: &str, instance_id: &str) -> Result<bool> {
        let request = DeregisterInstanceRequest {
            namespace: self.namespace().into(),
            service: service.into(),
            instance_id: instance_id.into(),
            actor: self.actor().into(),
            ..Default::default()
        };
        let answer = self
            .caller()
            .call(request, RegistryServiceClient::deregister_instance)
            .await?;
        Ok(answer.deregistered)
    }

    /// Drains an instance, whoever owns it: it gets no new traffic at once, and is removed when
    /// every watcher of its service knows, or at the deadline (1 s to 10 min; none: 20 s).
    pub fn drain(&self, service: &str, instance_id: &str, deadline: Option<Duration>) -> Drain {
        let request = DrainInstanceRequest {
            namespace: self.namespace().into(),
            service: service.into(),
            instance_id: instance_id.into(),
            actor: self.actor().into(),
            ..Default::default()
        };
        Drain::new(self.caller().clone(), request, deadline)
    }

    /// Reads who watches the instances of a service, on all replicas, all pages. Has the header of
    /// the last page, and the replicas that did not answer on any.
    pub async fn subscribers(&self, service: &str) -> Result<ListSubscribersResponse> {
        let mut request = ListSubscribersRequest {
            namespace: self.namespace().into(),
            service: service.into(),
            page_size: PAGE,
            ..Default::default()
        };
        let mut all = ListSubscribersResponse::default();
        loop {
            let page = self
                .caller()
                .call(request.clone(), OperatorServiceClient::list_subscribers)
                .await?;
            all.header = page.header;
            all.subscribers.extend(page.subscribers);
            all.silent_replicas.extend(page.silent_replicas);
            if page.next_page_token.is_empty() {
                return Ok(all);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Follows the instances to send traffic to.
    pub fn discover(&self, service: &str) -> Discovery {
        self.discover_with(service, &DiscoveryOptions::default())
    }

    /// Follows some of the instances.
    pub fn discover_with(&self, service: &str, options: &DiscoveryOptions) -> Discovery {
        Discovery::follow(self.caller().clone(), self.namespace(), service, options)
    }

    /// Reads the instances of a service, all pages. Has the header and `protected` of the last.
    pub async fn instances(
        &self,
        service: &str,
        view: InstanceView,
    ) -> Result<ListInstancesResponse> {
        self.list_instances(ListInstancesRequest {
            service: service.into(),
            view: view.into(),
            ..Default::default()
        })
        .await
    }

    /// Reads the instances that a request selects, all pages, in this client's namespace if it
    /// names none. Has the header and `protected` of the last.
    pub async fn list_instances(
        &self,
        mut request: ListInstancesRequest,
    ) -> Result<ListInstancesResponse> {
        if request.namespace.is_empty() {
            request.namespace = self.namespace().into();
        }
        request.page_size = PAGE;
        let mut instances = Vec::new();
        loop {
            let mut page = self
                .caller()
                .call(request.clone(), RegistryServiceClient::list_instances)
                .await?;
            instances.append(&mut page.instances);
            if page.next_page_token.is_empty() {
                page.instances = instances;
                return Ok(page);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Reads the services whose name begins with `prefix`, all pages.
    pub async fn services(&self, prefix: &str) -> Result<Vec<Service>> {
        pages::all(move |page_token| async move {
            let request = ListServicesRequest {
                namespace: self.namespace().into(),
                prefix: prefix.into(),
                page_size: PAGE,
                page_token,
                ..Default::default()
            };
            let page = self
                .caller()
                .call(request, RegistryServiceClient::list_services)
                .await?;
            Ok((page.services, page.next_page_token))
        })
        .await
    }

    /// Lets the removals of a braked service go on; `comment` says why. Answers whether it was
    /// braked.
    pub async fn release_brake(&self, service: &str, comment: &str) -> Result<bool> {
        let request = ReleaseBrakeRequest {
            namespace: self.namespace().into(),
            service: service.into(),
            actor: self.actor().into(),
            comment: comment.into(),
            ..Default::default()
        };
        let answer = self
            .caller()
            .call(request, OperatorServiceClient::release_brake)
            .await?;
        Ok(answer.released)
    }

    /// Configuration of the namespace.
    pub fn config(&self) -> Configs {
        Configs::new(self.clone())
    }

    /// Who changed what in the namespace.
    pub fn audit(&self) -> Audit {
        Audit::new(self.clone())
    }

    /// What operators decide about the namespace.
    pub fn operator(&self) -> Operator {
        Operator::new(self.clone())
    }

    /// Begins to take a lock: `lock("nightly").acquire()`.
    pub fn lock(&self, lock: &str) -> LockRequest {
        LockRequest::new(self.clone(), lock)
    }

    /// Several locks, to take all or none: `lock_all(["a", "b"]).acquire()`.
    pub fn lock_all(&self, locks: impl IntoIterator<Item = impl Into<String>>) -> LocksRequest {
        LocksRequest::new(self.clone(), locks)
    }

    /// An election, to stand for or to observe: `election("scheduler").campaign()`.
    pub fn election(&self, election: &str) -> Election {
        Election::new(self.clone(), election)
    }

    /// A barrier, to wait at until `parties` are there: `barrier("step-7", 3).enter()`.
    pub fn barrier(&self, barrier: &str, parties: u32) -> BarrierRequest {
        BarrierRequest::new(self.clone(), barrier, parties)
    }

    /// A latch, to create, to count down or to wait for: `latch("ready").wait()`.
    pub fn latch(&self, latch: &str) -> Latch {
        Latch::new(self.clone(), latch)
    }

    /// Reads the live sessions, of one `client_id` if it is not empty, all pages.
    pub async fn sessions(&self, client_id: &str) -> Result<Vec<SessionInfo>> {
        pages::all(move |page_token| async move {
            let request = ListSessionsRequest {
                client_id: client_id.into(),
                page_size: PAGE,
                page_token,
                ..Default::default()
            };
            let page = self
                .caller()
                .call(request, SessionServiceClient::list_sessions)
                .await?;
            Ok((page.sessions, page.next_page_token))
        })
        .await
    }

    /// Asks the replica at the current endpoint what it is.
    pub async fn server_info(&self) -> Result<GetServerInfoResponse> {
        self.caller()
            .call(
                GetServerInfoRequest {},
                ServerServiceClient::get_server_info,
            )
            .await
    }

    /// Watches a selection, update by update. For a copy kept current see
    /// [`discover`](Self::discover) and [`Configs::watch`].
    pub fn watch<S: Selection>(&self, selection: S) -> Watch<S> {
        self.watch_after(selection, bytes::Bytes::new())
    }

    /// Watches a selection from a token on: that of an earlier update, or of a read with the same
    /// selection. An empty one means with a snapshot first.
    pub fn watch_after<S: Selection>(&self, selection: S, resume_token: bytes::Bytes) -> Watch<S> {
        Watch::new(self.caller().clone(), selection, resume_token)
    }

    /// The endpoints, with their connections, for calls that this crate has no method for.
    pub fn channels(&self) -> impl Iterator<Item = (&str, Channel)> {
        self.caller()
            .endpoints
            .all()
            .iter()
            .map(|endpoint| (endpoint.address.as_str(), endpoint.channel.clone()))
    }

    pub(crate) fn caller(&self) -> &Arc<Caller> {
        &self.shared.caller
    }

    pub(crate) fn keeper(&self) -> &Arc<SessionKeeper> {
        &self.shared.keeper
    }

    pub(crate) fn actor(&self) -> &str {
        &self.shared.caller.options.actor
    }
}

/// A name for a request that makes it safe to repeat, for calls made with
/// [`Client::channels`].
pub fn new_request_id() -> String {
    request_id()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn can_be_spawned<T: Send>(_: &T) {}

    #[tokio::test]
    async fn calls_can_be_spawned() {
        let client = Client::connect(["127.0.0.1:1"], Options::default()).unwrap();
        can_be_spawned(&client.deregister("web", "1"));
        can_be_spawned(&client.services(""));
        can_be_spawned(&client.subscribers("web"));
        can_be_spawned(&client.session());
        can_be_spawned(&client.config().list(""));
        can_be_spawned(&client.operator().namespaces());
        can_be_spawned(&client.lock("nightly").acquire());
        can_be_spawned(&client.election("scheduler").campaign());
        can_be_spawned(&client.barrier("step-7", 3).enter());
        can_be_spawned(&client.latch("ready").wait());
    }
}
