//! What the layers know of a method from its path.

use std::{collections::HashMap, sync::LazyLock};

use prost::Message;

use crate::proto::FILE_DESCRIPTOR_SET;

/// What is known of a method.
#[derive(Debug)]
pub(super) struct Method {
    /// `package.Service/Method`; `unknown` of all that nobody serves: their own names would let
    /// strangers make up labels.
    pub(super) name: String,
    /// Where it is among [`count`] methods.
    pub(super) index: usize,
    /// Whether a call may stay open for as long as the client likes: streams, and calls that wait
    /// for a lock, others or a drain, or read all there is.
    pub(super) open_ended: bool,
    /// Whether it is answered only at the head of a queue, or when others have come.
    pub(super) queues: bool,
    /// Whether the client may go on sending for as long as it likes.
    pub(super) takes_a_stream: bool,
    /// Whether it is a conversation about the protos, which has nothing to lose.
    pub(super) reflection: bool,
}

/// The methods that are served, by path.
static METHODS: LazyLock<HashMap<String, Method>> = LazyLock::new(|| {
    [
        FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ]
    .into_iter()
    .filter_map(|set| prost_types::FileDescriptorSet::decode(set).ok())
    .flat_map(|set| set.file)
    .flat_map(|file| {
        let package = file.package().to_owned();
        file.service.into_iter().flat_map(move |service| {
            let name = format!("{package}.{}", service.name());
            service
                .method
                .into_iter()
                .map(move |method| format!("{name}/{}", method.name()))
        })
    })
    .enumerate()
    .map(|(index, name)| (format!("/{name}"), Method::new(name, index)))
    .collect()
});

/// Any method that nobody serves.
static UNKNOWN: LazyLock<Method> =
    LazyLock::new(|| Method::new("unknown".to_owned(), METHODS.len()));

/// The method that a path means.
pub(super) fn of(path: &str) -> &'static Method {
    METHODS.get(path).unwrap_or_else(|| &UNKNOWN)
}

/// How many there are, the unknown one included.
pub(super) fn count() -> usize {
    METHODS.len() + 1
}

// === impl Method ===

impl Method {
    fn new(name: String, index: usize) -> Self {
        let last = name.rsplit('/').next().unwrap_or_default();
        let reflection = last == "ServerReflectionInfo";
        let takes_a_stream = last == "KeepAlive" || reflection;
        Self {
            open_ended: last.starts_with("Watch")
                || [
                    "AcquireLock",
                    "AcquireLocks",
                    "AwaitLatch",
                    "Campaign",
                    "DrainInstance",
                    "EnterBarrier",
                    "HoldLeadership",
                    "HoldLock",
                    "ObserveLeader",
                    "VerifyAudit",
                ]
                .contains(&last)
                || takes_a_stream,
            queues: [
                "AcquireLock",
                "AcquireLocks",
                "AwaitLatch",
                "Campaign",
                "EnterBarrier",
            ]
            .contains(&last),
            takes_a_stream,
            reflection,
            name,
            index,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_and_waits_are_open_ended_and_nothing_else_is() {
        for method in METHODS.values() {
            let open_ended = method.name.contains("/Watch")
                || [
                    "stanchion.v1.SessionService/KeepAlive",
                    "stanchion.v1.ElectionService/Campaign",
                    "stanchion.v1.ElectionService/ObserveLeader",
                    "stanchion.v1.ElectionService/HoldLeadership",
                    "stanchion.v1.LockService/AcquireLock",
                    "stanchion.v1.LockService/AcquireLocks",
                    "stanchion.v1.LockService/HoldLock",
                    "stanchion.v1.BarrierService/EnterBarrier",
                    "stanchion.v1.BarrierService/AwaitLatch",
                    "stanchion.v1.RegistryService/DrainInstance",
                    "stanchion.v1.AuditService/VerifyAudit",
                    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                ]
                .contains(&method.name.as_str());
            assert_eq!(method.open_ended, open_ended, "{}", method.name);
        }
        assert!(!of("").open_ended);
    }

    #[test]
    fn locks_the_lead_and_others_are_waited_for() {
        let queues = METHODS.values().filter(|method| method.queues);
        let mut queues: Vec<_> = queues.map(|method| method.name.as_str()).collect();
        queues.sort_unstable();
        assert_eq!(
            queues,
            [
                "stanchion.v1.BarrierService/AwaitLatch",
                "stanchion.v1.BarrierService/EnterBarrier",
                "stanchion.v1.ElectionService/Campaign",
                "stanchion.v1.LockService/AcquireLock",
                "stanchion.v1.LockService/AcquireLocks",
            ]
        );
    }

    #[test]
    fn every_stream_of_the_api_is_known_to_be_one() {
        let set = prost_types::FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    let (package, service) = (file.package(), service.name());
                    let known = of(&format!("/{package}.{service}/{}", method.name()));
                    if method.client_streaming() || method.server_streaming() {
                        assert!(known.open_ended, "{}", known.name);
                    }
                    assert_eq!(known.takes_a_stream, method.client_streaming());
                }
            }
        }
    }

    #[test]
    fn only_methods_that_exist_are_told_apart() {
        for method in [
            "stanchion.v1.RegistryService/ListInstances",
            "grpc.health.v1.Health/Check",
            "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        ] {
            assert_eq!(of(&format!("/{method}")).name, method);
        }
        assert_eq!(of("/stanchion.v1.RegistryService/Nonsense").name, "unknown");
        assert_eq!(of("").name, "unknown");
    }

    #[test]
    fn no_two_methods_share_a_place() {
        let mut places: Vec<_> = METHODS.values().map(|method| method.index).collect();
        places.push(UNKNOWN.index);
        places.sort_unstable();
        assert!(places.into_iter().eq(0..count()));
    }
}
