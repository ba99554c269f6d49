//! What is set for namespaces, and what is in them.

use stanchion_client::proto::{
    self, DeleteNamespaceRequest, DeleteNamespaceResponse, GetNamespaceRequest,
    GetNamespaceResponse, ListNamespacesRequest, ListNamespacesResponse, PutNamespaceRequest,
    PutNamespaceResponse,
};
use tonic::{Response, Status};

use crate::{
    domain::{
        audit::Caller,
        names::Namespace,
        namespace::{NamespaceInfo, NamespaceSettings, Quotas},
        put::Put,
    },
    rpc::{
        convert::{Violations, delete, put, wire_count},
        page, status,
    },
};

use super::{
    OperatorHandler,
    services::{description, labels},
};

/// Binds page tokens to the list of namespaces. There is one list, so that any number does.
const LIST: u64 = 0x6e61_6d65_7370_6163;

pub(super) async fn put(
    handler: &OperatorHandler,
    request: PutNamespaceRequest,
    caller: Caller,
) -> Result<Response<PutNamespaceResponse>, Status> {
    let done = handler.namespaces.put(put_request(request, caller)?).await;
    let done = done.map_err(status::of)?;
    Ok(Response::new(PutNamespaceResponse {
        header: Some(handler.context.header.at(done.revision)),
        settings: Some(wire_settings(&done.value)),
        unchanged: !done.changed,
    }))
}

pub(super) async fn get(
    handler: &OperatorHandler,
    request: GetNamespaceRequest,
) -> Result<Response<GetNamespaceResponse>, Status> {
    let mut v = Violations::new();
    let freshness = v.freshness(request.consistency, request.min_revision);
    let namespace = v.namespace(&request.namespace);
    let namespace = v.give(namespace)?;
    let found = handler.namespaces.get(&namespace, freshness).await;
    let (info, view) = found.map_err(status::of)?;
    Ok(Response::new(GetNamespaceResponse {
        header: Some(handler.context.header.of(&view)),
        namespace: Some(wire_namespace(&info)),
    }))
}

pub(super) async fn list(
    handler: &OperatorHandler,
    request: ListNamespacesRequest,
) -> Result<Response<ListNamespacesResponse>, Status> {
    let mut v = Violations::new();
    let freshness = v.freshness(request.consistency, request.min_revision);
    let size = v.page_size(request.page_size);
    v.check()?;
    let after = match page::after(&request.page_token, LIST)? {
        None => None,
        Some(name) => {
            let name = std::str::from_utf8(&name).map_err(|_| page::foreign())?;
            Some(Namespace::parse(name).map_err(|_| page::foreign())?)
        }
    };
    let found = handler.namespaces.list(after, size, freshness).await;
    let (infos, more, view) = found.map_err(status::of)?;
    let last = infos.last().filter(|_| more);
    Ok(Response::new(ListNamespacesResponse {
        header: Some(handler.context.header.of(&view)),
        next_page_token: last.map_or(String::new(), |last| {
            page::token(last.namespace.as_str().as_bytes(), LIST)
        }),
        namespaces: infos.iter().map(wire_namespace).collect(),
    }))
}

pub(super) async fn delete(
    handler: &OperatorHandler,
    request: DeleteNamespaceRequest,
    caller: Caller,
) -> Result<Response<DeleteNamespaceResponse>, Status> {
    let mut v = Violations::new();
    let namespace = v.namespace(&request.namespace);
    let delete = delete!(v, request, caller, namespace);
    let deleted = handler.namespaces.delete(delete).await;
    let deleted = deleted.map_err(status::of)?;
    Ok(Response::new(DeleteNamespaceResponse {
        header: Some(handler.context.header.at(deleted.revision)),
        deleted: deleted.changed,
    }))
}

fn put_request(
    request: PutNamespaceRequest,
    caller: Caller,
) -> Result<Put<NamespaceSettings>, Status> {
    let mut v = Violations::new();
    let namespace = v.namespace(&request.namespace);
    let settings = v.required("settings", request.settings);
    let settings = namespace.map(|namespace| namespace_settings(&mut v, namespace, settings));
    Ok(put!(v, request, caller, settings))
}

fn namespace_settings(
    v: &mut Violations,
    namespace: Namespace,
    settings: proto::NamespaceSettings,
) -> NamespaceSettings {
    NamespaceSettings {
        description: description(v, settings.description),
        labels: labels(v, settings.labels),
        quotas: Quotas {
            instances: quota(v, "settings.max_instances", settings.max_instances),
            services: quota(v, "settings.max_services", settings.max_services),
            sessions: quota(v, "settings.max_sessions", settings.max_sessions),
        },
        ..NamespaceSettings::unset(namespace)
    }
}

fn quota(v: &mut Violations, field: &str, value: Option<i32>) -> Option<u32> {
    let parsed = value.map(u32::try_from).transpose();
    parsed.unwrap_or_else(|_| {
        v.add(field, "must not be negative");
        None
    })
}

fn wire_namespace(info: &NamespaceInfo) -> proto::Namespace {
    proto::Namespace {
        namespace: info.namespace.to_string(),
        settings: info.settings.as_deref().map(wire_settings),
        instance_count: wire_count(info.usage.instances),
        service_count: wire_count(info.usage.services),
        config_count: wire_count(info.usage.configs),
        lock_count: wire_count(info.usage.locks),
        election_count: wire_count(info.usage.elections),
        barrier_count: wire_count(info.usage.barriers),
        latch_count: wire_count(info.usage.latches),
        session_count: wire_count(info.usage.sessions),
    }
}

fn wire_settings(settings: &NamespaceSettings) -> proto::NamespaceSettings {
    let quota = |quota: u32| i32::try_from(quota).unwrap_or(i32::MAX);
    let quotas = &settings.quotas;
    proto::NamespaceSettings {
        description: settings.description.clone(),
        labels: settings.labels.clone(),
        max_instances: quotas.instances.map(quota),
        max_services: quotas.services.map(quota),
        max_sessions: quotas.sessions.map(quota),
        author: settings.author.to_string(),
        update_time: Some(settings.update_time.into()),
        revision: settings.mod_revision,
    }
}
