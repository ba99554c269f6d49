//! Stanchion: service registry, config centre, locks and elections over etcd, as one gRPC service.
//!
//! # The house
//!
//! ```text
//!            proto/stanchion/v1            src/rpc          src/domain         src/cache          src/store
//! client ──▶ generated stubs ─────────▶ decode, encode ─▶ rules of each ──▶ one live copy of ─▶ port: range, txn,
//! grpcurl                               status, limits     service           the state prefix    lease, watch
//!   ▲                                      │                  │                   │               ├─ etcd/      pooled connections
//!   └──── snapshot, delta, bookmark ◀──────┴── typed events ◀─┴──── batches ◀─────┘               └─ embedded/  in process, on disk
//! ```
//!
//! **The path of a call.** A connection is accepted in [`rpc::listener`] and stays on one of the
//! threads of [`rpc::workers`], or on the one there is. The call passes [`rpc::layers`], a handler
//! such as `rpc::registry` parses every field into a type that cannot be invalid ([`rpc::convert`],
//! [`domain::names`]) and makes one call into the domain. A read is answered from the cache
//! ([`cache::Cache::read`]), as fresh as was asked for. A write becomes one transaction that compares
//! before it writes ([`domain::Core::commit`]) and goes to the store ([`store::Store::txn`]).
//! Whatever went wrong becomes a status in one table ([`rpc::status`]).
//!
//! **The path of an event.** What was written comes back through the one watch that this replica
//! has on the store. The cache groups it by revision and lets the projection ([`domain::state`])
//! derive what can be seen: a session ends, so its instances are suspect, at that very revision.
//! The result is published as an immutable state and a log of changes; every watcher is a cursor
//! over it ([`cache::Cursor`]). Cursors of one selection share a topic: it is woken only by what
//! may concern it, and what it tells ([`cache::Run`]) is written for the wire once, by
//! [`rpc::watch`], for all of them ([`cache::WireForm`]).
//!
//! # Who may name whom
//!
//! | room | owns | may name |
//! |---|---|---|
//! | [`rpc`] | handlers, conversions, the status table, layers, watch streams | wire types, [`domain`] |
//! | [`domain`] | names, rules and transactions; keys; stored records | [`cache`], the [`store`] port |
//! | [`cache`] | the watch cache: revisions, freshness, cursors | the [`store`] port |
//! | [`store`] | the port, its errors, the adapters `etcd` and `embedded` | `http2` |
//! | [`app`] | the wiring: it alone names an adapter | all |
//! | [`serve`], [`settings`], [`telemetry`], [`metrics`], [`operations_http`] | the process | what they need |
//! | `cli` (in the binary) | the command line: a client like any other | the Rust client |
//! | `http2` | what a connection is made of, to a client or to etcd | nothing of ours; named by [`rpc`] and [`store`] |
//! | [`clock`] | time, injected | open to all |
//! | [`planted`] | faults for tests to find, with the feature `planted-bugs` alone | open to all |
//!
//! The test `tests/it/architecture.rs` reads `src/` and fails on any other edge.
//!
//! # What always holds
//!
//! - Every write is one transaction whose compares make it safe to repeat.
//! - Each replica has exactly one watch on the store, whatever the number of its clients.
//! - What watchers see is a pure function of the store at a revision, so any replica can resume
//!   any watch.
//! - Nobody waits for a slow watcher: it is a position, not a queue.
//! - Time comes from [`clock::Clock`] and decides nothing that a revision could.

pub mod app;
pub mod cache;
pub mod checks;
pub mod clock;
pub mod domain;
mod http2;
pub mod metrics;
pub mod operations_http;
pub mod planted;
pub mod proto;
pub mod rpc;
pub mod serve;
pub mod settings;
pub mod store;
pub mod telemetry;
