//! Every kind of write that takes room, through the API.

use std::sync::atomic::{AtomicUsize, Ordering};

use stanchion::store::{KeyRange, RangeRequest};
use stanchion_client::proto::{
    AcquireLockRequest, BatchRegisterInstancesRequest, CampaignRequest, DeleteConfigRequest,
    GetLeaderRequest, Guard, Health, Instance, InstanceOverlay, NamespaceSettings,
    OpenSessionRequest, OperatorState, ProclaimRequest, PutConfigRequest, PutNamespaceRequest,
    PutServiceRequest, RegisterInstanceRequest, ReportHealthRequest, ServiceSettings,
    SetInstanceOverlayRequest, SetInstanceStateRequest, UpdateInstanceRequest,
    acquire_lock_request::Wait, batch_register_instances_request, register_instance_request,
};
use tonic::Status;

use crate::support::server::Server;

/// A kind of write.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    PutConfig,
    PutConfigUnderGuard,
    DeleteConfig,
    RollbackConfig,
    Commit,
    PutDraft,
    Publish,
    RollbackRelease,
    RegisterForGood,
    RegisterOnSession,
    RegisterWithSession,
    RegisterBatch,
    UpdateInstance,
    OpenSession,
    TryLock,
    QueueForLock,
    ReportHealth,
    PutService,
    PutNamespace,
    Isolate,
    Overlay,
    Campaign,
    Proclaim,
    CreateLatch,
    CountDownLatch,
}

pub const KINDS: [Kind; 25] = [
    Kind::PutConfig,
    Kind::PutConfigUnderGuard,
    Kind::DeleteConfig,
    Kind::RollbackConfig,
    Kind::Commit,
    Kind::PutDraft,
    Kind::Publish,
    Kind::RollbackRelease,
    Kind::RegisterForGood,
    Kind::RegisterOnSession,
    Kind::RegisterWithSession,
    Kind::RegisterBatch,
    Kind::UpdateInstance,
    Kind::OpenSession,
    Kind::TryLock,
    Kind::QueueForLock,
    Kind::ReportHealth,
    Kind::PutService,
    Kind::PutNamespace,
    Kind::Isolate,
    Kind::Overlay,
    Kind::Campaign,
    Kind::Proclaim,
    Kind::CreateLatch,
    Kind::CountDownLatch,
];

/// Who writes.
pub struct Writer<'a> {
    pub server: &'a Server,
    pub session: String,
    guard: Guard,
}

// === impl Writer ===

impl<'a> Writer<'a> {
    pub async fn new(server: &'a Server) -> Self {
        let session = open(server, "writer").await.unwrap();
        let guard = AcquireLockRequest {
            lock: "guard".into(),
            session_id: session.clone(),
            ..AcquireLockRequest::default()
        };
        let held = server.locks().acquire_lock(guard).await.unwrap();
        Self {
            server,
            session,
            guard: Guard {
                lock: "guard".into(),
                fencing_token: held.into_inner().fencing_token,
                ..Guard::default()
            },
        }
    }

    /// A mark that nothing else in the store contains.
    pub fn mark(&self) -> String {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        format!("mark-{:08x}-{number:06}", rand::random::<u32>())
    }

    /// Writes what a write with this mark needs, without the mark.
    pub async fn prepare(&self, kind: Kind, mark: &str) -> Result<(), Status> {
        match kind {
            Kind::DeleteConfig => self.put(&base(mark), "old", None).await,
            Kind::RollbackConfig | Kind::Publish | Kind::RollbackRelease => {
                self.prepare_config(kind, &base(mark)).await
            }
            Kind::UpdateInstance | Kind::ReportHealth => {
                self.register(instance(&base(mark)), forever()).await
            }
            Kind::Proclaim => self.campaign(&base(mark)).await,
            Kind::CountDownLatch => self.latch(&base(mark)).await,
            _ => Ok(()),
        }
    }

    /// Leaves the mark in the store.
    pub async fn write(&self, kind: Kind, mark: &str) -> Result<(), Status> {
        match kind {
            Kind::PutConfig => self.put(mark, "content", None).await,
            Kind::PutConfigUnderGuard => self.put(mark, "content", Some(&self.guard)).await,
            Kind::DeleteConfig => {
                let delete = DeleteConfigRequest {
                    key: base(mark),
                    comment: mark.into(),
                    ..DeleteConfigRequest::default()
                };
                let deleted = self.server.configs().delete_config(delete).await?;
                assert!(deleted.into_inner().deleted);
                Ok(())
            }
            Kind::RollbackConfig
            | Kind::Commit
            | Kind::PutDraft
            | Kind::Publish
            | Kind::RollbackRelease => self.change_config(kind, mark).await,
            Kind::RegisterForGood => self.register(instance(mark), forever()).await,
            Kind::RegisterOnSession => {
                let liveness = register_instance_request::Liveness::SessionId(self.session.clone());
                self.register(instance(mark), liveness).await
            }
            Kind::RegisterWithSession => {
                let ttl = seconds(60);
                let liveness = register_instance_request::Liveness::Ttl(ttl);
                self.register(instance(mark), liveness).await
            }
            Kind::RegisterBatch => {
                let liveness = batch_register_instances_request::Liveness::Persistent(true);
                let batch = BatchRegisterInstancesRequest {
                    instances: ["a", "b"]
                        .map(|one| instance(&format!("{mark}-{one}")))
                        .into(),
                    liveness: Some(liveness),
                    ..BatchRegisterInstancesRequest::default()
                };
                let mut registry = self.server.registry();
                registry.batch_register_instances(batch).await.map(drop)
            }
            Kind::UpdateInstance => {
                let update = UpdateInstanceRequest {
                    instance: Some(Instance {
                        version: mark.into(),
                        ..instance(&base(mark))
                    }),
                    update_mask: Some(prost_types::FieldMask {
                        paths: vec!["version".into()],
                    }),
                    ..UpdateInstanceRequest::default()
                };
                let mut registry = self.server.registry();
                let updated = registry.update_instance(update).await?;
                assert_eq!(updated.into_inner().instance.unwrap().version, mark);
                Ok(())
            }
            Kind::OpenSession => open(self.server, mark).await.map(drop),
            Kind::TryLock => self.lock(mark, Some(Wait::NoWait(true))).await,
            Kind::QueueForLock => self.lock(mark, None).await,
            Kind::ReportHealth => {
                let report = ReportHealthRequest {
                    service: "web".into(),
                    instance_id: base(mark),
                    reporter: "writer".into(),
                    health: Health::Healthy.into(),
                    reason: mark.into(),
                    ttl: Some(seconds(3600)),
                    ..ReportHealthRequest::default()
                };
                self.server.registry().report_health(report).await.map(drop)
            }
            Kind::PutService | Kind::PutNamespace | Kind::Isolate | Kind::Overlay => {
                self.decide(kind, mark).await
            }
            Kind::Campaign => self.campaign(mark).await,
            Kind::Proclaim => {
                let proclaim = ProclaimRequest {
                    election: base(mark),
                    session_id: self.session.clone(),
                    term: self.term(&base(mark)).await,
                    proclamation: mark.to_owned().into(),
                    ..ProclaimRequest::default()
                };
                let mut elections = self.server.elections();
                elections.proclaim(proclaim).await.map(drop)
            }
            Kind::CreateLatch => self.latch(mark).await,
            Kind::CountDownLatch => self.count_down(&base(mark), mark).await,
        }
    }

    /// Whether the mark is in the store.
    pub async fn is_there(&self, mark: &str) -> bool {
        let core = &self.server.app().core;
        // What is watched and what is only looked up.
        let state = core.keys.state();
        let all = state.strip_suffix(b"state/").unwrap().to_vec();
        let all = RangeRequest::new(KeyRange::prefix(all));
        let found = core.store.range(all).await.unwrap();
        let has = |bytes: &[u8]| {
            bytes
                .windows(mark.len())
                .any(|part| part == mark.as_bytes())
        };
        found.kvs.iter().any(|kv| has(&kv.key) || has(&kv.value))
    }

    /// Decides what operators can.
    async fn decide(&self, kind: Kind, mark: &str) -> Result<(), Status> {
        let mut operators = self.server.operators();
        match kind {
            Kind::PutService => {
                let put = PutServiceRequest {
                    service: mark.into(),
                    settings: Some(ServiceSettings::default()),
                    ..PutServiceRequest::default()
                };
                operators.put_service(put).await.map(drop)
            }
            Kind::PutNamespace => {
                let put = PutNamespaceRequest {
                    namespace: mark.into(),
                    settings: Some(NamespaceSettings::default()),
                    ..PutNamespaceRequest::default()
                };
                operators.put_namespace(put).await.map(drop)
            }
            Kind::Isolate => {
                let isolate = SetInstanceStateRequest {
                    service: "web".into(),
                    instance_id: mark.into(),
                    state: OperatorState::Isolated.into(),
                    ..SetInstanceStateRequest::default()
                };
                operators.set_instance_state(isolate).await.map(drop)
            }
            _ => {
                let show = SetInstanceOverlayRequest {
                    service: "web".into(),
                    instance_id: mark.into(),
                    overlay: Some(InstanceOverlay {
                        weight: Some(1),
                        ..InstanceOverlay::default()
                    }),
                    ..SetInstanceOverlayRequest::default()
                };
                operators.set_instance_overlay(show).await.map(drop)
            }
        }
    }

    pub(super) async fn put(
        &self,
        key: &str,
        content: &str,
        guard: Option<&Guard>,
    ) -> Result<(), Status> {
        let put = PutConfigRequest {
            key: key.into(),
            content: content.to_owned().into(),
            guard: guard.cloned(),
            ..PutConfigRequest::default()
        };
        let written = self.server.configs().put_config(put).await?;
        assert!(!written.into_inner().unchanged);
        Ok(())
    }

    async fn register(
        &self,
        instance: Instance,
        liveness: register_instance_request::Liveness,
    ) -> Result<(), Status> {
        let register = RegisterInstanceRequest {
            client_id: match liveness {
                register_instance_request::Liveness::Ttl(_) => instance.instance_id.clone(),
                _ => String::new(),
            },
            instance: Some(instance),
            liveness: Some(liveness),
            ..RegisterInstanceRequest::default()
        };
        let mut registry = self.server.registry();
        registry.register_instance(register).await.map(drop)
    }

    async fn lock(&self, lock: &str, wait: Option<Wait>) -> Result<(), Status> {
        let acquire = AcquireLockRequest {
            lock: lock.into(),
            session_id: self.session.clone(),
            wait,
            ..AcquireLockRequest::default()
        };
        let held = self.server.locks().acquire_lock(acquire).await?;
        assert!(held.into_inner().fencing_token > 0);
        Ok(())
    }

    async fn campaign(&self, election: &str) -> Result<(), Status> {
        let campaign = CampaignRequest {
            election: election.into(),
            session_id: self.session.clone(),
            ..CampaignRequest::default()
        };
        let elected = self.server.elections().campaign(campaign).await?;
        assert!(elected.into_inner().term > 0);
        Ok(())
    }

    async fn term(&self, election: &str) -> i64 {
        let read = GetLeaderRequest {
            election: election.into(),
            ..GetLeaderRequest::default()
        };
        let read = self.server.elections().get_leader(read).await.unwrap();
        let election = read.into_inner().election.unwrap();
        election.leader.unwrap().term
    }
}

pub fn instance(id: &str) -> Instance {
    Instance {
        service: "web".into(),
        instance_id: id.into(),
        address: "10.0.0.1".into(),
        ..Instance::default()
    }
}

/// What a write with this mark begins from.
pub(super) fn base(mark: &str) -> String {
    mark.replacen("mark", "base", 1)
}

fn forever() -> register_instance_request::Liveness {
    register_instance_request::Liveness::Persistent(true)
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

async fn open(server: &Server, client_id: &str) -> Result<String, Status> {
    let open = OpenSessionRequest {
        ttl: Some(seconds(120)),
        client_id: client_id.into(),
        ..OpenSessionRequest::default()
    };
    let opened = server.sessions().open_session(open).await?;
    Ok(opened.into_inner().session_id)
}
