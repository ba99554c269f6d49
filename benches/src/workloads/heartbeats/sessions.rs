//! The sessions that heartbeats keep alive.

use futures_util::future::try_join_all;
use prost::Message as _;
use stanchion_client::proto::{KeepAliveRequest, OpenSessionRequest, OpenSessionResponse};

use super::Beats;
use crate::{
    BenchError,
    etcd::{LeaseGrantRequest, LeaseKeepAliveRequest, path},
    http2::Connection,
    wire::Dialect,
    workloads::{
        busy::{Tally, Work, keep_busy},
        instances::{unary, undecodable},
    },
};

const OPEN: &str = "/stanchion.v1.SessionService/OpenSession";
const KEEP_ALIVE: &str = "/stanchion.v1.SessionService/KeepAlive";

/// Calls under way on each connection.
const IN_FLIGHT: usize = 20;

/// Opens sessions on a connection.
struct Opening {
    dialect: Dialect,
    ttl: i64,
    /// The next session and the end, as numbers over all connections.
    next: u64,
    end: u64,
    /// The heartbeats of those that are open.
    heartbeats: Vec<Vec<u8>>,
}

/// Opens so many sessions, evenly over the connections, which are no more than those.
pub(crate) async fn open(
    connections: &mut [Connection],
    dialect: Dialect,
    sessions: u32,
    ttl: u32,
) -> Result<Vec<Beats>, BenchError> {
    let (sessions, count) = (u64::from(sessions), connections.len() as u64);
    let tally = Tally::new();
    let all = connections
        .iter_mut()
        .enumerate()
        .map(|(index, connection)| {
            let index = index as u64;
            let mut opening = Opening {
                dialect,
                ttl: i64::from(ttl),
                next: sessions * index / count,
                end: sessions * (index + 1) / count,
                heartbeats: Vec::new(),
            };
            let tally = &tally;
            async move {
                keep_busy(connection, IN_FLIGHT, &mut opening, tally).await?;
                let path = match dialect {
                    Dialect::Etcd => path::LEASE_KEEP_ALIVE,
                    Dialect::Stanchion => KEEP_ALIVE,
                };
                // The connections' heartbeats fall between each other's.
                let phase = index as f64 / count as f64;
                Ok(Beats::new(dialect, path, opening.heartbeats, phase))
            }
        });
    try_join_all(all).await
}

// === impl Opening ===

impl Work for Opening {
    fn begin(&mut self, connection: &mut Connection) -> Option<(u64, u32)> {
        let number = self.next;
        if number == self.end {
            return None;
        }
        self.next += 1;
        let call = match self.dialect {
            Dialect::Etcd => unary(
                path::LEASE_GRANT,
                &LeaseGrantRequest {
                    ttl: self.ttl,
                    id: lease(number),
                },
            ),
            Dialect::Stanchion => unary(
                OPEN,
                &OpenSessionRequest {
                    ttl: Some(prost_types::Duration {
                        seconds: self.ttl,
                        nanos: 0,
                    }),
                    client_id: format!("client-{number}"),
                    ..OpenSessionRequest::default()
                },
            ),
        };
        Some((number, connection.start(&call)))
    }

    fn see(&mut self, number: u64, answer: &[u8]) -> Result<(), BenchError> {
        let heartbeat = match self.dialect {
            Dialect::Etcd => {
                let id = lease(number);
                LeaseKeepAliveRequest { id }.encode_to_vec()
            }
            Dialect::Stanchion => {
                let opened = OpenSessionResponse::decode(answer).map_err(undecodable)?;
                KeepAliveRequest {
                    session_id: opened.session_id,
                    seq: 0,
                    acks: Vec::new(),
                }
                .encode_to_vec()
            }
        };
        self.heartbeats.push(heartbeat);
        Ok(())
    }
}

/// The id that a client chooses for its lease; zero would leave the choice to etcd.
fn lease(number: u64) -> i64 {
    number as i64 + 1
}
