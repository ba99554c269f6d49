//! What the layers know of a method from its path.

use std::{collections::HashSet, sync::LazyLock};

use prost::Message;

use crate::proto::FILE_DESCRIPTOR_SET;

/// How a method is called where nobody serves it: its own name would let strangers make up labels.
const UNKNOWN: &str = "unknown";

/// The methods that are served, as `package.Service/Method`.
static METHODS: LazyLock<HashSet<String>> = LazyLock::new(|| {
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
    .collect()
});

/// The name of the method that a path means, or `unknown`.
pub(super) fn name(path: &str) -> &'static str {
    METHODS
        .get(path.trim_start_matches('/'))
        .map_or(UNKNOWN, String::as_str)
}

/// Says whether a call of the method may stay open for as long as the client likes: streams, and
/// a call that waits for a lock.
pub(super) fn is_open_ended(path: &str) -> bool {
    last(path).starts_with("Watch") || last(path) == "AcquireLock" || takes_a_stream(path)
}

/// Says whether the client may go on sending for as long as it likes.
pub(super) fn takes_a_stream(path: &str) -> bool {
    last(path) == "KeepAlive" || is_reflection(path)
}

/// Says whether it is a conversation about the protos, which has nothing to lose.
pub(super) fn is_reflection(path: &str) -> bool {
    last(path) == "ServerReflectionInfo"
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_and_waits_are_open_ended_and_nothing_else_is() {
        for method in METHODS.iter() {
            let open_ended = is_open_ended(method);
            let expected = method.contains("/Watch")
                || [
                    "stanchion.v1.SessionService/KeepAlive",
                    "stanchion.v1.LockService/AcquireLock",
                    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                ]
                .contains(&method.as_str());
            assert_eq!(open_ended, expected, "{method}");
        }
        assert!(!is_open_ended(""));
    }

    #[test]
    fn every_stream_of_the_api_is_known_to_be_one() {
        let set = prost_types::FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
        let services = set.file.iter().flat_map(|file| &file.service);
        for method in services.flat_map(|service| &service.method) {
            let name = method.name();
            if method.client_streaming() || method.server_streaming() {
                assert!(is_open_ended(name), "{name}");
            }
            assert_eq!(takes_a_stream(name), method.client_streaming(), "{name}");
        }
    }

    #[test]
    fn only_methods_that_exist_are_told_apart() {
        for method in [
            "stanchion.v1.RegistryService/ListInstances",
            "grpc.health.v1.Health/Check",
            "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        ] {
            assert_eq!(name(&format!("/{method}")), method);
        }
        assert_eq!(name("/stanchion.v1.RegistryService/Nonsense"), UNKNOWN);
        assert_eq!(name(""), UNKNOWN);
    }
}
