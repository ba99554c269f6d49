//! The Rust client against real servers: it moves, resumes, recovers, and gives up when it should.

mod barriers;
mod binding;
mod config;
mod discovery;
mod drains;
mod elections;
mod failover;
mod locks;
mod operator;
mod redeploy;
mod registrations;

use std::time::Duration;

use stanchion_client::{Client, Options, SessionOptions};

use crate::support::{door::Door, server::Server, store::PATIENCE};

/// A time to live that no restart outlasts, on a busy machine neither.
const LONG: Duration = Duration::from_secs(30);

/// A client of these servers, which begins with the first.
pub fn client(servers: &[&Server]) -> Client {
    client_named(servers, "")
}

/// A client that goes through this door alone.
fn client_at(door: &Door) -> Client {
    connect([door.address.to_string()], "", LONG)
}

/// A client with a name.
fn client_named(servers: &[&Server], client_id: &str) -> Client {
    client_with(servers, client_id, LONG)
}

/// A client whose session lives so long without heartbeats.
pub fn client_with(servers: &[&Server], client_id: &str, ttl: Duration) -> Client {
    let endpoints = servers.iter().map(|server| server.address.to_string());
    connect(endpoints, client_id, ttl)
}

fn connect(endpoints: impl IntoIterator<Item = String>, client_id: &str, ttl: Duration) -> Client {
    let options = Options {
        session: SessionOptions {
            ttl: Some(ttl),
            client_id: client_id.to_owned(),
            ..SessionOptions::default()
        },
        // Tests do not spread load, and do not wait long.
        shuffle_endpoints: false,
        max_backoff: Duration::from_millis(200),
        ..Options::default()
    };
    Client::connect(endpoints, options).unwrap()
}

/// Waits for what must come; panics with `what` when it takes too long.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("waited in vain for: {what}"))
}
