//! What operators decide, through its API, on both stores.

mod aliases;
mod instances;
mod namespaces;
mod replicas;
mod services;

use stanchion_client::proto::{
    DeregisterInstanceRequest, Instance, OpenSessionRequest, RegisterInstanceRequest,
    register_instance_request::Liveness,
};
use tonic::Status;

use crate::support::server::Server;

async fn open(server: &Server) -> String {
    let request = OpenSessionRequest {
        // Long, so that nothing expires by accident on a slow machine.
        ttl: Some(seconds(120)),
        ..OpenSessionRequest::default()
    };
    let response = server.sessions().open_session(request).await.unwrap();
    response.into_inner().session_id
}

/// Registers `namespace/service/id`, by a session or persistent.
async fn register(server: &Server, session: &str, path: &str) -> Result<Instance, Status> {
    let [namespace, service, id] = path.split('/').collect::<Vec<_>>().try_into().unwrap();
    let request = RegisterInstanceRequest {
        namespace: namespace.into(),
        instance: Some(Instance {
            service: service.into(),
            instance_id: id.into(),
            address: "10.0.0.1".into(),
            metadata: [("color".to_owned(), "red".to_owned())].into(),
            ..Instance::default()
        }),
        liveness: Some(match session {
            "" => Liveness::Persistent(true),
            session => Liveness::SessionId(session.into()),
        }),
        ..RegisterInstanceRequest::default()
    };
    let registered = server.registry().register_instance(request).await?;
    Ok(registered.into_inner().instance.unwrap())
}

async fn deregister(server: &Server, path: &str) {
    let [namespace, service, id] = path.split('/').collect::<Vec<_>>().try_into().unwrap();
    let request = DeregisterInstanceRequest {
        namespace: namespace.into(),
        service: service.into(),
        instance_id: id.into(),
        ..DeregisterInstanceRequest::default()
    };
    server
        .registry()
        .deregister_instance(request)
        .await
        .unwrap();
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}
