//! Barriers: who is released together, and who is not counted.

mod bad_input;
mod endings;
mod faults;
mod reads;
mod releases;

use std::{collections::BTreeSet, time::Duration};

use stanchion_client::proto::{
    Barrier, Consistency, EnterBarrierRequest, EnterBarrierResponse, GetBarrierRequest,
    enter_barrier_request::Wait,
};
use tokio::task::JoinHandle;
use tonic::{Response, Status};

use crate::{
    lock::{close, open, open_for},
    support::server::{Server, eventually},
};

/// What a call comes to.
type Answer = Result<EnterBarrierResponse, Status>;

/// Waits for ever.
fn wanted(barrier: &str, parties: i32, session: &str, request: &str) -> EnterBarrierRequest {
    EnterBarrierRequest {
        barrier: barrier.into(),
        parties,
        session_id: session.into(),
        request_id: request.into(),
        ..EnterBarrierRequest::default()
    }
}

/// The same, waiting so long.
fn timed(request: EnterBarrierRequest, time: Duration) -> EnterBarrierRequest {
    EnterBarrierRequest {
        wait: Some(Wait::WaitTimeout(time.try_into().unwrap())),
        ..request
    }
}

async fn enter(server: &Server, request: EnterBarrierRequest) -> Answer {
    let answer = server.barriers().enter_barrier(request).await;
    answer.map(Response::into_inner)
}

/// A call that runs by itself; aborting it cancels it.
fn spawn(server: &Server, request: EnterBarrierRequest) -> JoinHandle<Answer> {
    let mut barriers = server.barriers();
    tokio::spawn(async move {
        let answer = barriers.enter_barrier(request).await;
        answer.map(Response::into_inner)
    })
}

/// The barrier as the store has it.
async fn barrier(server: &Server, barrier: &str) -> Barrier {
    let request = GetBarrierRequest {
        barrier: barrier.into(),
        consistency: Consistency::Linearizable.into(),
        ..GetBarrierRequest::default()
    };
    let answer = server.barriers().get_barrier(request).await.unwrap();
    answer.into_inner().barrier.unwrap()
}

/// Waits until so many are there.
async fn until_waiting(server: &Server, name: &str, waiting: usize) -> Barrier {
    eventually("so many to wait", async || {
        let barrier = barrier(server, name).await;
        (barrier.participants.len() == waiting).then_some(barrier)
    })
    .await
}

/// The one generation of all of them, whose indices are those there can be.
fn together(answers: &[EnterBarrierResponse]) -> i64 {
    let generations: BTreeSet<_> = answers.iter().map(|answer| answer.generation).collect();
    assert_eq!(generations.len(), 1, "{answers:?}");
    let count = i32::try_from(answers.len()).unwrap();
    assert!(answers.iter().all(|answer| answer.parties == count));
    let indices: BTreeSet<_> = answers.iter().map(|answer| answer.index).collect();
    assert!(indices.into_iter().eq(0..count), "{answers:?}");
    answers[0].generation
}
