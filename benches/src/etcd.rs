//! etcd's messages, as far as the workloads need them.

/// Reads a key or all from it to `range_end`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RangeRequest {
    /// The first key.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) key: Vec<u8>,
    /// The key after the last one; empty for one key.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) range_end: Vec<u8>,
    /// Whether what the member knows is enough.
    #[prost(bool, tag = "7")]
    pub(crate) serializable: bool,
}

/// Answers a read.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RangeResponse {
    /// How many keys there are.
    #[prost(int64, tag = "4")]
    pub(crate) count: i64,
}

/// Writes a key.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct PutRequest {
    /// The key.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) key: Vec<u8>,
    /// Its value.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
    /// The lease it lives with; zero for none.
    #[prost(int64, tag = "3")]
    pub(crate) lease: i64,
}

/// Answers a write.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct PutResponse {
    /// The state after it.
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<ResponseHeader>,
}

/// Says which state an answer shows.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ResponseHeader {
    /// Its revision.
    #[prost(int64, tag = "3")]
    pub(crate) revision: i64,
}

/// Asks for a lease.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct LeaseGrantRequest {
    /// Seconds it lives without a renewal.
    #[prost(int64, tag = "1")]
    pub(crate) ttl: i64,
    /// Its id, which the client may choose.
    #[prost(int64, tag = "2")]
    pub(crate) id: i64,
}

/// Renews a lease.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct LeaseKeepAliveRequest {
    /// Which.
    #[prost(int64, tag = "1")]
    pub(crate) id: i64,
}

/// Answers a renewal.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct LeaseKeepAliveResponse {
    /// Seconds the lease lives from now; zero if it is gone.
    #[prost(int64, tag = "3")]
    pub(crate) ttl: i64,
}

/// Asks something of a watch stream.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct WatchRequest {
    /// A new watch.
    #[prost(message, optional, tag = "1")]
    pub(crate) create: Option<WatchCreateRequest>,
}

/// Begins a watch.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct WatchCreateRequest {
    /// The first key.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) key: Vec<u8>,
    /// The key after the last one; empty for one key.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) range_end: Vec<u8>,
    /// The revision of the first event; zero for what comes next.
    #[prost(int64, tag = "3")]
    pub(crate) start_revision: i64,
}

/// Answers on a watch stream.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct WatchResponse {
    /// Whether it says that the watch stands.
    #[prost(bool, tag = "3")]
    pub(crate) created: bool,
    /// What changed.
    #[prost(message, repeated, tag = "11")]
    pub(crate) events: Vec<Event>,
}

/// A change; what it says is not looked at.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Event {}

/// Paths of the calls.
pub(crate) mod path {
    /// Reads.
    pub(crate) const RANGE: &str = "/etcdserverpb.KV/Range";
    /// Writes.
    pub(crate) const PUT: &str = "/etcdserverpb.KV/Put";
    /// Watches.
    pub(crate) const WATCH: &str = "/etcdserverpb.Watch/Watch";
    /// Grants a lease.
    pub(crate) const LEASE_GRANT: &str = "/etcdserverpb.Lease/LeaseGrant";
    /// Renews leases.
    pub(crate) const LEASE_KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";
}
