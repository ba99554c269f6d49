//! What the layers know of a method from its path.

/// Says whether a call of the method may stay open for as long as the client likes: streams, and
/// a call that waits for a lock.
pub(super) fn is_open_ended(path: &str) -> bool {
    let method = path.rsplit('/').next().unwrap_or_default();
    method.starts_with("Watch")
        || matches!(method, "KeepAlive" | "AcquireLock" | "ServerReflectionInfo")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_and_waits_are_open_ended_and_nothing_else_is() {
        for path in [
            "/stanchion.v1.RegistryService/WatchInstances",
            "/stanchion.v1.SessionService/KeepAlive",
            "/stanchion.v1.LockService/AcquireLock",
            "/grpc.health.v1.Health/Watch",
        ] {
            assert!(is_open_ended(path), "{path}");
        }
        for path in [
            "/stanchion.v1.RegistryService/ListInstances",
            "/grpc.health.v1.Health/Check",
            "",
        ] {
            assert!(!is_open_ended(path), "{path}");
        }
    }
}
