//! What can be chosen about the way to an etcd cluster.

use std::time::Duration;

/// How the adapter reaches etcd, and how patient it is.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Some of the members, as `host:port` or with the scheme, `http://host:port` or
    /// `https://host:port`. At least one; default none.
    pub endpoints: Vec<String>,
    /// Connects over TLS. Default false.
    pub tls: bool,
    /// The certificates that vouch for the members, in PEM: needed for TLS. The files of TLS are
    /// read for each new connection. Default none.
    pub ca_file: String,
    /// Our certificate, in PEM, its issuers after it if there are any. Default none: the members
    /// are shown none.
    pub cert_file: String,
    /// The key of our certificate, in PEM. With `cert_file` or not at all.
    pub key_file: String,
    /// What the members' certificates must be for. Default empty: the host of the endpoint.
    pub server_name: String,
    /// Who we are to etcd, if it has users. Default empty: nobody.
    pub user: String,
    /// Where the user's password is, a line end after it or not; read for each new token. With
    /// `user` or not at all.
    pub password_file: String,
    /// A key that we may read, whether it exists or not: reading it tells how far the cluster is.
    /// Default `-`.
    pub any_key: String,
    /// Accepts members older than 3.5.13, whose progress reports cannot be trusted. Default false.
    pub allow_old: bool,
    /// How long a connection may take. Default 2 s.
    pub connect_timeout: Duration,
    /// How long one member may take to answer a read, a transaction, a grant or a revocation.
    /// Default 1.5 s: what a member passed on to a leader that had just died is never answered, and
    /// by then there is another leader. Useful 1 s to 10 s.
    pub kv_timeout: Duration,
    /// How often a connection with open calls is pinged. Default 10 s; etcd drops connections that
    /// ping more often than every 5 s.
    pub ping_interval: Duration,
    /// How long a ping may stay unanswered until the connection counts as lost. Default 4 s.
    pub ping_timeout: Duration,
    /// How often the cluster is asked for its members; sooner while one does not answer. `None`: the
    /// endpoints are all there is. Default 30 s, at least 100 ms.
    pub sync_interval: Option<Duration>,
    /// How often a healthy member is asked for its status. Default 3 s.
    pub probe_interval: Duration,
    /// How long a member may take to tell its status, until its streams move to another. Default
    /// 1 s.
    pub probe_timeout: Duration,
    /// The shortest pause before something that failed is tried again; it doubles up to
    /// `backoff_max` and is jittered. Default 50 ms.
    pub backoff_min: Duration,
    /// The longest pause before something that failed is tried again. Default 2 s.
    pub backoff_max: Duration,
    /// Over how many streams the renewals of all leases are spread. Default 4, at least 1.
    pub renewal_streams: usize,
    /// How long a renewal stream may leave everything unanswered until it is reopened on another
    /// member. A renewal may take twice that. Default 1.5 s.
    pub renewal_silence: Duration,
    /// How long opening a watch on one member may take. Default 5 s.
    pub watch_open_timeout: Duration,
    /// How long a watch may be silent until it is asked for its progress. Default 10 s.
    pub watch_silence: Duration,
    /// How long a watch that was asked for its progress may be silent until it is reopened on
    /// another member. Default 2 s.
    pub watch_progress_timeout: Duration,
    /// How many items of a watch wait for its reader until the watch stops reading. Default 256.
    pub watch_buffer: usize,
    /// The largest message accepted from etcd, in bytes. Default 64 MiB.
    pub max_message: usize,
}

// === impl Settings ===

impl Settings {
    /// The defaults, for these members.
    pub fn new<E: Into<String>>(endpoints: impl IntoIterator<Item = E>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            tls: false,
            ca_file: String::new(),
            cert_file: String::new(),
            key_file: String::new(),
            server_name: String::new(),
            user: String::new(),
            password_file: String::new(),
            any_key: "-".to_owned(),
            allow_old: false,
            connect_timeout: Duration::from_secs(2),
            kv_timeout: Duration::from_millis(1500),
            ping_interval: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(4),
            sync_interval: Some(Duration::from_secs(30)),
            probe_interval: Duration::from_secs(3),
            probe_timeout: Duration::from_secs(1),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(2),
            renewal_streams: 4,
            renewal_silence: Duration::from_millis(1500),
            watch_open_timeout: Duration::from_secs(5),
            watch_silence: Duration::from_secs(10),
            watch_progress_timeout: Duration::from_secs(2),
            watch_buffer: 256,
            max_message: 64 * 1024 * 1024,
        }
    }
}
