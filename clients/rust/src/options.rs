//! What can be set about a client.

use std::{collections::BTreeMap, time::Duration};

/// How a [`Client`](crate::Client) behaves. The defaults suit most programs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Namespace of every request that names no other. Empty means `default`. Default: empty.
    pub namespace: String,
    /// Who makes changes, kept as their author; not verified. At most 253 bytes. Default: empty.
    pub actor: String,
    /// The session that registrations and locks of this client share.
    pub session: SessionOptions,
    /// How long a connection may take. Default 1 s.
    pub connect_timeout: Duration,
    /// How long a call may take, repeated tries included. Calls that wait for a lock are not
    /// bound by it. Default 3 s.
    pub call_timeout: Duration,
    /// How long one try may go unanswered, if there is another endpoint to go on at: less than half
    /// of `call_timeout` leaves time for it. Calls that wait for a lock have so long beyond their
    /// wait. Default 1 s.
    pub try_timeout: Duration,
    /// How often a call is tried, at least once and once at each endpoint. Default 6.
    pub attempts: u32,
    /// The longest wait between two tries of what is tried for ever: streams, registrations.
    /// Default 5 s.
    pub max_backoff: Duration,
    /// How often an HTTP/2 ping asks whether the server is there. Together with
    /// `keepalive_timeout` it says how long a watch, or a wait for a lock, stays at a server that
    /// hangs. Default 10 s.
    pub keepalive_interval: Duration,
    /// How long the ping may go unanswered. Default 5 s.
    pub keepalive_timeout: Duration,
    /// How long a watch may be silent before it moves to another endpoint; at least twice the
    /// server's bookmark interval (10 s). Default 30 s.
    pub stream_silence: Duration,
    /// Whether to begin with a random endpoint, so that clients spread; else with the first.
    /// Default true.
    pub shuffle_endpoints: bool,
}

/// What a session is opened with.
#[derive(Debug, Clone, Default)]
pub struct SessionOptions {
    /// Time to live without a heartbeat, 5 s to 10 min. Default: the server's, 15 s.
    pub ttl: Option<Duration>,
    /// Name of the client, stable over its restarts: a new session with the same name may take
    /// over the instances of the old one. Default: none.
    pub client_id: String,
    /// What the client tells about itself. Default: nothing.
    pub metadata: BTreeMap<String, String>,
}

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        Self {
            namespace: String::new(),
            actor: String::new(),
            session: SessionOptions::default(),
            connect_timeout: Duration::from_secs(1),
            call_timeout: Duration::from_secs(3),
            try_timeout: Duration::from_secs(1),
            attempts: 6,
            max_backoff: Duration::from_secs(5),
            keepalive_interval: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(5),
            stream_silence: Duration::from_secs(30),
            shuffle_endpoints: true,
        }
    }
}
