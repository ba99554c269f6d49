//! All that there is, read in each of the ways there are.

use std::time::{Duration, Instant};

use prost::Message as _;
use stanchion_client::proto::{
    Consistency, ListInstancesResponse, ListServicesRequest, ListServicesResponse,
    WatchInstancesRequest, WatchServicesRequest,
};

use super::service;
use crate::{
    BenchError,
    http2::{Call, Connection, Event, Windows},
    workloads::{
        busy::call,
        instances::{list, unary, undecodable},
    },
};

const LIST_SERVICES: &str = "/stanchion.v1.RegistryService/ListServices";
const WATCH_SERVICES: &str = "/stanchion.v1.RegistryService/WatchServices";
const WATCH_INSTANCES: &str = "/stanchion.v1.RegistryService/WatchInstances";

/// Services on a page: several pages, as a user would have.
const PAGE: i32 = 100;

/// What reading took.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reading {
    /// A watch of all services, until it has shown them.
    pub(super) services: Duration,
    /// One watch for each service over one connection, until all have shown their instances.
    pub(super) instances: Duration,
    /// All pages of the list of services, and the instances of each.
    pub(super) pages: Duration,
    /// Bytes of the largest message of all.
    pub(super) largest: usize,
}

/// A message of a watch, as far as it tells that the snapshot is complete. It has the same number
/// in all watches.
#[derive(Clone, PartialEq, prost::Message)]
struct Shown {
    #[prost(message, optional, tag = "3")]
    snapshot_end: Option<Nothing>,
}

/// A message that is not looked into.
#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

/// Reads everything, and fails if something is missing.
pub(super) async fn read_all(
    port: u16,
    services: u64,
    instances: u64,
) -> Result<Reading, BenchError> {
    let mut reading = Reading::default();
    let begun = Instant::now();
    let watch = unary(WATCH_SERVICES, &WatchServicesRequest::default());
    reading.snapshots(port, &[watch]).await?;
    reading.services = begun.elapsed();

    let watches: Vec<_> = (0..services)
        .map(|number| {
            let request = WatchInstancesRequest {
                service: service(number),
                ..WatchInstancesRequest::default()
            };
            unary(WATCH_INSTANCES, &request)
        })
        .collect();
    let begun = Instant::now();
    reading.snapshots(port, &watches).await?;
    reading.instances = begun.elapsed();

    let begun = Instant::now();
    let listed = reading.pages(port).await?;
    reading.pages = begun.elapsed();
    if listed != instances {
        return Err(BenchError::failed(format!("{listed} instances are listed")));
    }
    Ok(reading)
}

// === impl Reading ===

impl Reading {
    /// Starts watches on a connection of their own, and waits until all have shown what there is.
    async fn snapshots(&mut self, port: u16, watches: &[Call]) -> Result<(), BenchError> {
        let mut connection = Connection::open(port, Windows::Large).await?;
        let (mut next, mut complete) = (watches.iter().peekable(), 0);
        while complete < watches.len() {
            while connection.may_send() && next.peek().is_some() {
                next.next().map(|watch| connection.start(watch));
            }
            let mut failure = None;
            connection
                .exchange(|event| match event {
                    Event::Message { message, .. } => {
                        self.largest = self.largest.max(message.len());
                        match Shown::decode(message) {
                            Ok(shown) => complete += usize::from(shown.snapshot_end.is_some()),
                            Err(error) => failure = Some(undecodable(error)),
                        }
                    }
                    Event::End { .. } => failure = Some(BenchError::failed("a watch ended")),
                })
                .await?;
            failure.map_or(Ok(()), Err)?;
        }
        Ok(())
    }

    /// Reads all pages one after the other, and tells how many instances those show.
    async fn pages(&mut self, port: u16) -> Result<u64, BenchError> {
        let mut connection = Connection::open(port, Windows::Large).await?;
        let mut token = String::new();
        let mut listed = 0;
        loop {
            let request = ListServicesRequest {
                page_size: PAGE,
                page_token: token,
                ..ListServicesRequest::default()
            };
            let page = call(&mut connection, &unary(LIST_SERVICES, &request)).await?;
            self.largest = self.largest.max(page.len());
            let page = ListServicesResponse::decode(page).map_err(undecodable)?;
            for of in page.services {
                let read = list(&of.service, Consistency::Cached);
                let answer = call(&mut connection, &read).await?;
                self.largest = self.largest.max(answer.len());
                let answer = ListInstancesResponse::decode(answer).map_err(undecodable)?;
                listed += answer.instances.len() as u64;
            }
            token = page.next_page_token;
            if token.is_empty() {
                return Ok(listed);
            }
        }
    }
}
