//! Bounds of connections and calls.

use std::time::Duration;

use super::watch;

/// Bounds of connections and calls.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Threads that serve connections; 0: one for each core. Default 0.
    pub threads: usize,
    /// Times and bounds of watch streams.
    pub watch: watch::Settings,
    /// Largest request taken, in bytes. Default 2 MiB.
    pub max_request_bytes: usize,
    /// Largest answer given, in bytes. Default 4 MiB, which is what clients take by default.
    pub max_response_bytes: usize,
    /// Largest set of request headers taken, in bytes. Default 16 KiB.
    pub max_header_bytes: u32,
    /// Concurrent calls per connection. Default 1 000.
    pub max_streams: u32,
    /// Concurrent connections. Default 10 000.
    pub max_connections: usize,
    /// Bytes buffered for a peer that reads slowly, per stream. Default 32 KiB.
    pub send_buffer_bytes: usize,
    /// Deadline of calls that set none. Default 10 s.
    pub default_deadline: Duration,
    /// Longest deadline a call that answers at once can have. Default 1 min.
    pub max_deadline: Duration,
    /// How long a new connection may take to say that it speaks HTTP/2. Default 5 s.
    pub preface_timeout: Duration,
    /// How often a connection is pinged. Default 20 s.
    pub ping_interval: Duration,
    /// How long a ping may stay unanswered. Default 10 s.
    pub ping_timeout: Duration,
    /// After how long without a word from the store writes are reported as NOT_SERVING. Default
    /// 5 s.
    pub store_silence: Duration,
    /// How long another replica may take to answer what this one asks. Default 1 s.
    pub peer_timeout: Duration,
    /// Serves gRPC reflection. Default true.
    pub reflection: bool,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            threads: 0,
            watch: watch::Settings::default(),
            max_request_bytes: 2 * 1024 * 1024,
            max_response_bytes: 4 * 1024 * 1024,
            max_header_bytes: 16 * 1024,
            max_streams: 1000,
            max_connections: 10_000,
            send_buffer_bytes: 32 * 1024,
            default_deadline: Duration::from_secs(10),
            max_deadline: Duration::from_secs(60),
            preface_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(20),
            ping_timeout: Duration::from_secs(10),
            store_silence: Duration::from_secs(5),
            peer_timeout: Duration::from_secs(1),
            reflection: true,
        }
    }
}
