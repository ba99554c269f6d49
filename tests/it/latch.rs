//! Latches: counted down by parties, awaited anywhere, and gone with their time.

mod bad_input;
mod counting;
mod endings;
mod waiting;

use std::time::Duration;

use stanchion_client::proto::{
    AwaitLatchRequest, AwaitLatchResponse, Consistency, CountDownLatchRequest,
    CountDownLatchResponse, CreateLatchRequest, CreateLatchResponse, DeleteLatchRequest,
    GetLatchRequest, Latch, await_latch_request::Wait,
};
use tokio::task::JoinHandle;
use tonic::{Response, Status};

use crate::support::server::Server;

fn latch(name: &str, count: i32) -> CreateLatchRequest {
    CreateLatchRequest {
        latch: name.into(),
        count,
        ..CreateLatchRequest::default()
    }
}

async fn create(
    server: &Server,
    request: CreateLatchRequest,
) -> Result<CreateLatchResponse, Status> {
    let answer = server.barriers().create_latch(request).await;
    answer.map(Response::into_inner)
}

async fn count(
    server: &Server,
    latch: &str,
    party: &str,
) -> Result<CountDownLatchResponse, Status> {
    let request = CountDownLatchRequest {
        latch: latch.into(),
        party: party.into(),
        ..CountDownLatchRequest::default()
    };
    let answer = server.barriers().count_down_latch(request).await;
    answer.map(Response::into_inner)
}

/// Waits for ever.
fn wanted(latch: &str) -> AwaitLatchRequest {
    AwaitLatchRequest {
        latch: latch.into(),
        // The latch may have been made elsewhere.
        consistency: Consistency::Linearizable.into(),
        ..AwaitLatchRequest::default()
    }
}

/// Waits so long.
fn timed(latch: &str, time: Duration) -> AwaitLatchRequest {
    AwaitLatchRequest {
        wait: Some(Wait::WaitTimeout(time.try_into().unwrap())),
        ..wanted(latch)
    }
}

async fn wait(server: &Server, request: AwaitLatchRequest) -> Result<AwaitLatchResponse, Status> {
    let answer = server.barriers().await_latch(request).await;
    answer.map(Response::into_inner)
}

/// A call that runs by itself.
fn spawn(
    server: &Server,
    request: AwaitLatchRequest,
) -> JoinHandle<Result<AwaitLatchResponse, Status>> {
    let mut barriers = server.barriers();
    tokio::spawn(async move {
        let answer = barriers.await_latch(request).await;
        answer.map(Response::into_inner)
    })
}

async fn delete(server: &Server, latch: &str) -> Result<bool, Status> {
    let request = DeleteLatchRequest {
        latch: latch.into(),
        guard: None,
        ..DeleteLatchRequest::default()
    };
    let answer = server.barriers().delete_latch(request).await;
    answer.map(|answer| answer.into_inner().deleted)
}

/// The latch as the store has it.
async fn get(server: &Server, latch: &str) -> Result<Latch, Status> {
    let request = GetLatchRequest {
        latch: latch.into(),
        consistency: Consistency::Linearizable.into(),
        ..GetLatchRequest::default()
    };
    let answer = server.barriers().get_latch(request).await;
    answer.map(|answer| answer.into_inner().latch.unwrap())
}
