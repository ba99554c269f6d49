//! `ServerService`: what this replica and its store are.

use std::time::SystemTime;

use stanchion_client::proto::{
    CacheInfo, GetServerInfoRequest, GetServerInfoResponse, StoreInfo, StoreKind, StoreMember,
};
use tonic::{Request, Response, Status, async_trait};

use crate::{
    proto::server::server_service_server::ServerService,
    rpc::{Context, convert::wire_duration},
    store,
};

/// The handler of `ServerService`.
pub struct ServerHandler {
    context: Context,
    start_time: SystemTime,
}

// === impl ServerHandler ===

impl ServerHandler {
    /// A handler over one replica.
    pub fn new(context: Context) -> Self {
        let start_time = context.core.clock.system_time();
        Self {
            context,
            start_time,
        }
    }
}

#[async_trait]
impl ServerService for ServerHandler {
    async fn get_server_info(
        &self,
        _request: Request<GetServerInfoRequest>,
    ) -> Result<Response<GetServerInfoResponse>, Status> {
        let core = &self.context.core;
        let status = core.store.status().await;
        let view = core.cache.view().ok();
        let mut warnings = status
            .as_ref()
            .map_or_else(|error| vec![error.to_string()], |s| s.warnings.clone());
        if let Some(closed) = view.as_ref().and_then(|view| view.state.closed) {
            let ttl = humantime::format_duration(closed.ttl);
            warnings.push(format!(
                "the store lost data: no lock is granted within {ttl} of that"
            ));
        }
        Ok(Response::new(GetServerInfoResponse {
            header: Some(match &view {
                Some(view) => self.context.header.of(view),
                None => self.context.header.at(0),
            }),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            replica: core.replica.to_string(),
            start_time: Some(self.start_time.into()),
            cache: view.map(|view| CacheInfo {
                revision: view.revision,
                epoch: view.state.epoch.name(),
                age: Some(wire_duration(view.age)),
                ready: true,
                record_count: count(view.state.len()),
                undecodable_count: count(view.state.undecodable.len()),
            }),
            store: Some(store_info(status)),
            warnings,
        }))
    }
}

fn store_info(status: Result<store::Status, store::Error>) -> StoreInfo {
    let Ok(status) = status else {
        return StoreInfo::default();
    };
    let kind = match status.kind {
        store::Kind::Memory => StoreKind::Memory,
        store::Kind::File => StoreKind::File,
        store::Kind::Etcd => StoreKind::Etcd,
    };
    let mut versions: Vec<_> = status.members.iter().map(|m| m.version.clone()).collect();
    versions.retain(|version| !version.is_empty());
    versions.sort_unstable();
    versions.dedup();
    StoreInfo {
        kind: kind.into(),
        promise: status.promise,
        versions,
        members: status.members.into_iter().map(member).collect(),
        available: true,
    }
}

fn member(member: store::Member) -> StoreMember {
    StoreMember {
        name: member.name,
        endpoint: member.endpoint,
        version: member.version,
        healthy: member.error.is_none(),
        leader: member.leader,
        detail: member.error.unwrap_or_default(),
    }
}

fn count(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
