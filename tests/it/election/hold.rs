//! Candidates that stand and lead for as long as a stream lives.

use stanchion_client::proto::{
    CandidateElected, CandidateLost, CandidateQueued, CloseSessionRequest, HoldLeadershipRequest,
    HoldLeadershipResponse, LockLostCause, hold_leadership_request,
    hold_leadership_response::Message,
};
use tokio::time::timeout;
use tonic::{Code, Streaming};

use super::*;
use crate::support::{
    server::{Backend, assert_invalid, assert_status, on_both_stores},
    store::PATIENCE,
};

on_both_stores! {
    candidates_are_told_their_places_and_lead_while_their_streams_live,
    a_lead_that_is_over_is_told_and_why,
    a_candidate_comes_back_on_another_replica_with_its_term,
    a_candidate_that_is_refused_is_told_so,
}

struct Holding(Streaming<HoldLeadershipResponse>);

// === impl Holding ===

impl Holding {
    async fn open(server: &Server, request: HoldLeadershipRequest) -> Result<Self, Status> {
        let answer = server.elections().hold_leadership(request).await;
        answer.map(|answer| Self(answer.into_inner()))
    }

    async fn read(&mut self) -> Result<Option<Message>, Status> {
        let read = timeout(PATIENCE, self.0.message()).await;
        let read = read.expect("nothing more is told")?;
        Ok(read.map(|response| {
            assert!(response.header.is_some());
            response.message.unwrap()
        }))
    }

    async fn queued_at(&mut self, position: i32, candidates: i32) -> CandidateQueued {
        loop {
            match self.read().await.unwrap().unwrap() {
                Message::Queued(queued)
                    if (queued.position, queued.candidate_count) == (position, candidates) =>
                {
                    return queued;
                }
                Message::Queued(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn elected(&mut self) -> CandidateElected {
        loop {
            match self.read().await.unwrap().unwrap() {
                Message::Queued(_) => {}
                Message::Elected(elected) => return elected,
                Message::Lost(lost) => panic!("{lost:?}"),
            }
        }
    }

    async fn lost(&mut self) -> CandidateLost {
        let Message::Lost(lost) = self.read().await.unwrap().unwrap() else {
            panic!("something else is told");
        };
        assert_eq!(self.read().await.unwrap(), None);
        lost
    }

    async fn failed(&mut self) -> Status {
        loop {
            match self.read().await {
                Ok(Some(Message::Lost(lost))) => panic!("{lost:?}"),
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ended well"),
                Err(status) => return status,
            }
        }
    }
}

async fn server(backend: &Backend) -> Server {
    let mut settings = backend.settings();
    settings.domain.waiter_keep = Duration::from_secs(20);
    settings.domain.hold_interval = Duration::from_millis(10);
    backend.server_with(settings).await
}

fn stands(session: &str) -> HoldLeadershipRequest {
    HoldLeadershipRequest {
        election: "e".into(),
        session_id: session.into(),
        request_id: "r".into(),
        candidate: "c".into(),
        proclamation: "here".into(),
        ..Default::default()
    }
}

async fn stand(server: &Server, session: &str) -> Holding {
    Holding::open(server, stands(session)).await.unwrap()
}

async fn candidates_are_told_their_places_and_lead_while_their_streams_live(backend: Backend) {
    let (one, two) = (server(&backend).await, server(&backend).await);
    let mut leader = stand(&one, &open(&one).await).await;
    let elected = leader.elected().await;
    assert!(elected.valid_for.is_some());
    let seen = election(&two, "e").await.leader.unwrap();
    assert_eq!(
        (seen.term, &*seen.proclamation),
        (elected.term, &b"here"[..])
    );
    let mut next = stand(&two, &open(&two).await).await;
    next.queued_at(1, 1).await;
    let mut last = stand(&one, &open(&one).await).await;
    let place = last.queued_at(2, 2).await;
    drop(next);
    last.queued_at(1, 1).await;
    drop(leader);
    let elected_then = last.elected().await;
    assert_eq!(elected_then.term, place.term);
    assert!(elected_then.term > elected.term);
}

async fn a_lead_that_is_over_is_told_and_why(backend: Backend) {
    let (one, two) = (server(&backend).await, server(&backend).await);
    let session = open(&one).await;
    let mut leader = stand(&one, &session).await;
    let term = leader.elected().await.term;
    assert!(
        resign(&two, "e", &session, Claim::Term(term))
            .await
            .unwrap()
    );
    let lost = leader.lost().await;
    assert_eq!((lost.term, lost.cause()), (term, LockLostCause::Removed));

    let mut leader = stand(&one, &session).await;
    let term = leader.elected().await.term;
    let request = CloseSessionRequest {
        session_id: session,
        ..Default::default()
    };
    two.sessions().close_session(request).await.unwrap();
    let lost = leader.lost().await;
    assert_eq!(
        (lost.term, lost.cause()),
        (term, LockLostCause::SessionLost)
    );
}

async fn a_candidate_comes_back_on_another_replica_with_its_term(backend: Backend) {
    let (one, two, three) = (
        server(&backend).await,
        server(&backend).await,
        server(&backend).await,
    );
    let (first, second) = (open(&two).await, open(&two).await);
    let mut leader = stand(&one, &first).await;
    let term = leader.elected().await.term;
    let mut next = stand(&one, &second).await;
    let place = next.queued_at(1, 1).await.term;
    // It is the same candidate still, whoever asks.
    let mut again = stand(&two, &second).await;
    assert_eq!(again.queued_at(1, 1).await.term, place);
    let told = next.failed().await;
    assert_status(&told, Code::Aborted, "HOLD_TAKEN_OVER");
    let stopping = tokio::spawn(one.stop());
    let told = leader.failed().await;
    assert_status(&told, Code::Unavailable, "DRAINING");
    let mut leader = stand(&three, &first).await;
    assert_eq!(leader.elected().await.term, term);
    stopping.await.unwrap();
    // A call takes it over, and then it is there without any stream.
    assert_eq!(lead(&two, "e", &first, "r").await, term);
    let told = leader.failed().await;
    assert_status(&told, Code::Aborted, "HOLD_TAKEN_OVER");
    drop(leader);
    let seen = until_standing(&two, "e", 1).await;
    assert_eq!(seen.leader.unwrap().term, term);
    assert!(resign(&two, "e", &first, Claim::Term(term)).await.unwrap());
    assert_eq!(again.elected().await.term, place);
}

async fn a_candidate_that_is_refused_is_told_so(backend: Backend) {
    let server = server(&backend).await;
    let session = open(&server).await;
    lead(&server, "e", &session, "other").await;
    let tries = HoldLeadershipRequest {
        wait: Some(hold_leadership_request::Wait::NoWait(true)),
        ..stands(&session)
    };
    let told = Holding::open(&server, tries).await.err().unwrap();
    assert_status(&told, Code::FailedPrecondition, "LED_BY_ANOTHER");
    let bad = HoldLeadershipRequest {
        proclamation: vec![0; 5000].into(),
        ..stands(&session)
    };
    let told = Holding::open(&server, bad).await.err().unwrap();
    assert_invalid(&told, "proclamation");
    let bad = HoldLeadershipRequest {
        election: "..".into(),
        ..stands(&session)
    };
    let told = Holding::open(&server, bad).await.err().unwrap();
    assert_invalid(&told, "election");
}
